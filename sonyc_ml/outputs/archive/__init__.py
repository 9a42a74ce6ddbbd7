"""Outputs of many nodes and years as one dataset of Parquet parts: packed, read, merged and checked."""
