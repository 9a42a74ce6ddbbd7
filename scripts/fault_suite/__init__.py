"""Real faults, and what they cost."""
