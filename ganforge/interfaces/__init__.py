"""What components implement and are told: interfaces, specs, vocabulary, draws, errors."""
