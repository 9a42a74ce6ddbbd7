"""A recording, or a day of outputs, as a picture."""
