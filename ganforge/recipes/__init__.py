"""TOML text to typed tables, with every mistake at its line and column."""
