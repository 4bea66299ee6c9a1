"""The training loop, what starts it, and forecasts and benchmarks of it."""
