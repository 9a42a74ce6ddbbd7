"""Bundles that a node pulls from a store: who fetches and proves them, and what happens where they fail."""
