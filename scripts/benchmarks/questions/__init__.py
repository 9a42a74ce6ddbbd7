"""What it costs to ask a dataset something."""
