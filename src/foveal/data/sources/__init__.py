"""Sources: one file a kind, each a function that reads a place and gives a Dataset."""
