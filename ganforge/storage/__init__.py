"""Run folders and checkpoints: their names, locks, and files that are written whole or not at all.

Imports `interfaces` and `recipes`; `registry`, `planning` and all later rooms may import it."""
