"""A run opened to be looked at, what its data was, and what metrics measure on it.

Imports `game` and the rooms before it; `training` and all later rooms may import it."""
