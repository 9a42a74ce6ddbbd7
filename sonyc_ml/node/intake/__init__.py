"""Live sound: where it comes from, what is held of it in memory, and how it comes onto the usual road."""
