"""Sweeps: recipes x values x seeds as ordinary runs, each in a process of its own."""
