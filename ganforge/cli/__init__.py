"""The command line, one command a file.

The last room: it may import all others, and none imports it."""
