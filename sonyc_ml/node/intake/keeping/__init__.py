"""Clips of live sound: kept only where that is configured, and never where a class that forbids it is heard."""
