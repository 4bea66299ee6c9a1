"""One update: the networks, what losses may read, and how a turn is played.

Imports `hardware` and the rooms before it; `runs` and all later rooms may import it."""
