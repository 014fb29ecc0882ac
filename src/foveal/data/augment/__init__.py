"""Augmentation: each image of a training batch changed at random, by its own seed, on the batch's device."""
