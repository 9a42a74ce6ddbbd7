"""What is served over HTTP, in a process of its own: predictions for programs, the node's page for people."""
