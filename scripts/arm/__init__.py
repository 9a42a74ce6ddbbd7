"""A node of another processor, emulated, and what must hold on it."""
