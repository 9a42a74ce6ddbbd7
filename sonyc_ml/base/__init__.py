"""What knows nothing of sound: durable files, locks, identities, strict tables, text for people, the process."""
