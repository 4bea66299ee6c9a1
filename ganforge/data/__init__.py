"""Files to batches, in an order that is computed by index."""
