"""A recording's whole way, beside the original algorithm and the bare network."""
