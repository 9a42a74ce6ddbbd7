"""An archive of recordings, offline."""
