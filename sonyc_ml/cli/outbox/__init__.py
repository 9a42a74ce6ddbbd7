"""``sonyc-ml outbox``."""
