"""An example: a model class of one's own, for a bundle to name."""
