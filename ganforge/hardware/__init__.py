"""The device, its precision and memory layout, and the processes that share a run.

Imports `data` and the rooms before it; `game` and all later rooms may import it."""
