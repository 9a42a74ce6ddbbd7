"""What becomes of recordings whose output is published."""
