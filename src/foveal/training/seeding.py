"""Chance is seeded for a training, and the caller's own is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from foveal.training.recipe import Recipe


@contextmanager
def own_random_state(recipe: Recipe) -> Iterator[None]:
    """Seed torch for the run, use the recipe's number of threads, and give the caller's state back after."""
    devices = [torch.device(recipe.device)] if recipe.device.startswith("cuda") else []
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(recipe.seed)
        torch.set_num_threads(recipe.threads or threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
