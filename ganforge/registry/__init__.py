"""Plugins: found, loaded one by one, contained when they break.

Imports `interfaces`, `recipes` and `storage`; `planning` and all later rooms may import it.
No torch."""
