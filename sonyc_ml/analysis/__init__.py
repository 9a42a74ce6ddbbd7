"""What is made of outputs: labels, comparisons, pictures."""
