"""One update: the networks, what losses may read, and how a turn is played."""
