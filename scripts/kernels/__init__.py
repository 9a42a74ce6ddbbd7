"""The tests of numbers under every kernel that a processor has."""
