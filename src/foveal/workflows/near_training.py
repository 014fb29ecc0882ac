"""Whether images that a classifier is evaluated on show the same picture as one that it learned from."""

from __future__ import annotations

import numpy as np

from foveal.audit.looks import look
from foveal.audit.near import near_duplicates
from foveal.data.catalog import WITH_FILES
from foveal.data.dataset import Dataset
from foveal.errors import FovealError
from foveal.progress import Progress
from foveal.run import Run
from foveal.training.recipe import read_recipe
from foveal.workflows.plan import load_again, overlaid

MOST = 30_000  # images, learned from and asked together, up to which near copies are looked for


def near_training_note(run: Run, dataset: Dataset, progress: Progress, *, memory_gib: float) -> str:
    """Return how many images of `dataset` show a picture that `run` learned from, but for scale, compression and such.

    Exact copies count too. Where that cannot be told, since the images of the run are not at hand or there are too
    many, the note says so; it is empty where all were looked at and none was found.
    """
    try:
        learnt = _learnt(run, progress)
    except FovealError as error:
        return f"Near copies of training images were not looked for: {str(error).splitlines()[0]}"
    if learnt is None:
        return "Near copies of training images were not looked for: the images of the run are not at hand."
    count = len(learnt) + len(dataset)
    if count > MOST:
        return f"Near copies of training images were not looked for among {count:,} images."
    looks = [
        look(one, np.arange(len(one)), progress, memory_gib=memory_gib, scratch=run.path).thumbnails
        for one in (learnt, dataset)
    ]
    pairs = near_duplicates(np.concatenate(looks), None)
    border = len(learnt)
    seen = sorted({pair.other - border for pair in pairs if pair.row < border <= pair.other})
    if not seen:
        return ""
    first = dataset.record_ids[seen[0]]
    return (
        f"{len(seen):,} of {len(dataset):,} images show a picture that served training or validation, but for "
        f"scale, compression, brightness, a mirror or a small cut (the first is {first}), so the figures are too good."
    )


def _learnt(run: Run, progress: Progress) -> Dataset | None:
    """Return the images that `run` learned from, read again; None where that takes a download or arrays."""
    recipe = read_recipe(run.recipe_file)
    if not recipe.source or (recipe.source in WITH_FILES and recipe.data_dir is None):
        return None
    dataset = overlaid(load_again(recipe, None, None, progress), recipe)
    learnt = {row["record_id"] for row in run.splits if row["split"] != "test"}
    rows = np.flatnonzero([one in learnt for one in dataset.record_ids.tolist()])
    return dataset.take(rows) if len(rows) else None
