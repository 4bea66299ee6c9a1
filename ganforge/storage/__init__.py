"""Run folders and checkpoints: names, locks, and files that are written whole or not at all."""
