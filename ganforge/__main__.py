"""`python -m ganforge`."""

from ganforge.cli.main import main

main()
