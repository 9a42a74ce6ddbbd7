"""Stores elsewhere, through fsspec: opened by their addresses, and what is said of them."""
