"""Runs on the disk: the folder, its checkpoints, and a run opened to be looked at."""
