"""The device, its precision and memory layout, and the processes that share a run."""
