"""Programs that the faults start: the daemon without a safeguard, and one recording alone."""
