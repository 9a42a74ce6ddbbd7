"""Programs of ``workers``: each computes when asked, in an environment of its own."""
