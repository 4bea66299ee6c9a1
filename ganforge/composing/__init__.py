"""The readers that compose.py is made of, each building on the one before."""
