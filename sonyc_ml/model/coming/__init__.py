"""Features of sound that is still coming: the numbers are those of the whole, bit for bit."""
