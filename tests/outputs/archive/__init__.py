"""The archive: packing, reading, merging and checking."""
