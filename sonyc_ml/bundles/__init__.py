"""The files of a model, and who says that they may be trusted."""
