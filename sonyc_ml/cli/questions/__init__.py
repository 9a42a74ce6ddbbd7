"""Commands that ask a dataset something."""
