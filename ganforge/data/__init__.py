"""Files to batches, in an order computed by index; downloads, caches and worker processes.

Imports `planning` and the rooms before it; `hardware` and all later rooms may import it."""
