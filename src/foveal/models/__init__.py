"""Architectures: the catalog, and one file a family."""
