"""What is heard: windows of clips for training, sounds of no class, and an hour of a street."""
