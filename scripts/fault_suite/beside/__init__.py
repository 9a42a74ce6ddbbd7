"""Faults of what runs beside the daemon."""
