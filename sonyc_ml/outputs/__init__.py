"""What is published: embeddings and scores, as files and as arrays."""
