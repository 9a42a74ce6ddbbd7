"""Sound levels: that of a whole recording, by which a dead microphone shows, and those of a sound level meter."""
