"""What a network will see of training images: a few of them, and beside each how augmentation varies it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foveal.data.augment.policy import Augment
from foveal.data.dataset import Dataset
from foveal.preprocess import Preprocess, UnreadableImageError, array_picture
from foveal.web.thumbnails import Thumbnail, thumbnail

VERSIONS = 8
MOST_CLASSES = 8
AT_ONCE = 2  # images of a class


@dataclass(frozen=True)
class Varied:
    """One image, as it is and as training sees it in its first epochs."""

    record_id: str
    label: str
    plain: Thumbnail
    versions: tuple[Thumbnail, ...]


def varied(dataset: Dataset, policy: Augment, preprocess: Preprocess, seed: int = 0) -> list[Varied]:
    """Return up to two images of each of the first eight classes, varied by `policy` as `preprocess` fits them."""
    import torch

    from foveal.data.augment.batch import augment_batch
    from foveal.data.augment.draws import image_seeds

    shown = []
    for label, name in list(enumerate(dataset.classes))[:MOST_CLASSES]:
        for row in np.flatnonzero(dataset.labels == label)[:AT_ONCE].tolist():
            try:
                picture = dataset.images.picture(row)
            except UnreadableImageError:
                continue
            pixels = torch.from_numpy(preprocess.geometry(picture).copy())  # (H, W, C)
            seeds = torch.cat([image_seeds(seed, epoch, torch.tensor([row])) for epoch in range(VERSIONS)])
            made = augment_batch(pixels.expand(VERSIONS, -1, -1, -1).contiguous(), policy, seeds)
            versions = tuple(thumbnail(array_picture(one_made)) for one_made in made.numpy())
            shown.append(Varied(str(dataset.record_ids[row]), name, thumbnail(array_picture(pixels.numpy())), versions))
    return shown
