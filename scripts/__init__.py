"""What developers start: measurements, faults, training, and tests on other processors."""
