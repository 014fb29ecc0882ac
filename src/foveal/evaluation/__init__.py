"""Numbers that can be acted on: metrics with intervals, from labels and probabilities."""
