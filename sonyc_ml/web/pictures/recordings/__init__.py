"""Pictures of one recording, and its sound."""
