"""A model at the other end of a connection: what `sonyc_ml.client` speaks with."""
