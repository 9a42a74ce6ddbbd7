"""Sound that comes over a pipe or a socket, and never from a disk."""
