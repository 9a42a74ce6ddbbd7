"""Outputs leave the node: stored and forwarded, each once, whole, and pruned after proof alone."""
