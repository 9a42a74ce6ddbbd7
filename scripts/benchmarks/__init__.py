"""Measurements of this machine; ``docs/numbers.md`` is made of them."""
