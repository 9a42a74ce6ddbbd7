"""What an operator asks of a node, answered from the journal."""
