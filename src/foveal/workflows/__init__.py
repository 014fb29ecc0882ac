"""Workflows: what the command line and Python both call. One file a verb."""
