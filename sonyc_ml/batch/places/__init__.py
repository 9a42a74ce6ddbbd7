"""Where the outputs of a batch lie: a folder here, or one in a store elsewhere."""
