"""What scripts/train is made of."""
