"""The node's page: how soon it is there on a node with a long history."""
