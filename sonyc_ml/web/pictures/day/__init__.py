"""Pictures of a span of time."""
