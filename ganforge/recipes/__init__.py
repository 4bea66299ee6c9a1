"""TOML text to typed tables, with every mistake at its line and column.

Imports `interfaces` only; every room but that one may import it. No torch."""
