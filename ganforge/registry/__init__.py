"""Plugins: found, loaded one by one, contained when they break."""
