"""Many recordings on all cores."""
