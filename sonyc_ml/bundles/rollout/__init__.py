"""A bundle reaches a fleet: a signed file in a store says which nodes take which version, and nodes fetch it."""
