"""What quantising is made of: recordings to measure with, recipes, and what is lost."""
