"""A run opened to be looked at, what its data was, and what metrics say of it."""
