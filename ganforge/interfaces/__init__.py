"""What components implement and are given: interfaces, manifest records, specs, vocabulary,
settings, draws, errors.

The lowest room: it imports no other, and every other room may import it."""
