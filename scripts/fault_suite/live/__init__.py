"""Live sound: that every sample is embedded as a file would be, or on record."""
