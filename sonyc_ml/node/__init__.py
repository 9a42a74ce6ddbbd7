"""A sensor node: the daemon, and what an operator asks of it."""
