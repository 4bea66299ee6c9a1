"""Sweeps: recipes x values x seeds as ordinary runs, each in a process of its own.

Imports every room but `testing` and `cli`; only `cli` may import it."""
