"""Looking inside: what a network's stages see, which pixels spoke for a class, and whether to believe the picture."""
