"""What became of each recording, in SQLite."""
