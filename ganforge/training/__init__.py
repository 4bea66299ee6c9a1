"""The training loop, what starts and stops it, and estimates and benchmarks of it.

Imports `runs` and the rooms before it; `lab`, `sweeps`, `testing` and `cli` may import it."""
