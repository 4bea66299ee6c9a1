"""A recipe becomes a checked plan, and a plan is written out again. No torch."""
