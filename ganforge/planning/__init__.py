"""A recipe becomes a checked plan, and a plan is written out again.

Imports `registry` and the rooms before it; `data` and all later rooms may import it. No torch."""
