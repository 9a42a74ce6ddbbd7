"""Where samples come from: recordings opened, checked, mixed to mono; when they begin."""
