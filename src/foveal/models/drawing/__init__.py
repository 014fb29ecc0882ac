"""A network drawn: its stages, and the wiring of its blocks."""
