"""One HTML page that shows runs: read from their folders, opened from the disk, no server."""
