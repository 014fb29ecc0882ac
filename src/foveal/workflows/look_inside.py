"""Looking inside a classifier: pictures of its filters, of what they make of an image, and of what excites them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from foveal.classifier import Classifier
from foveal.classifier.inputs import Input, opened
from foveal.errors import DataError, UsageError
from foveal.explanation.feature_maps import feature_maps
from foveal.explanation.filters import filters as filters_of
from foveal.explanation.maximisation import maximise as maximised
from foveal.explanation.nonlinearity import find_rectified
from foveal.files import replacing
from foveal.preprocess import UnreadableImageError
from foveal.run import Run
from foveal.workflows.inspect import names_an_architecture
from foveal.workflows.place import refuse_existing_file, refuse_unwritable


def look_inside(
    classifier: str | Path | Run | Classifier,
    *,
    filters: bool = False,
    maps: Input | None = None,
    maximise: Sequence[int] = (),
    stage: str | None = None,
    out: str | Path = ".",
    trust: str | None = None,
) -> tuple[Path, ...]:
    """Draw the inside of a classifier into PNG files; return them, in order.

    What takes more than a page goes on in ``filters-2.png``, and so on.

    Args:
        classifier: a `Classifier`, or the path of one or of a run.
        filters: draw the weights of a convolution, ``filters.png``.
        maps: an image, whose maps are drawn before and after the non-linearity, ``maps.png``.
        maximise: channels of the stage, or without one classes: draw an image made to excite each, ``maximise.png``.
        stage: by the paper's name or a module's: whose convolution, or whose channels; by default the first
            convolution, and the classes.
        out: a folder for the files, of which none may exist.
        trust: the builder that the classifier's file may run, see `Classifier.load`.

    Raises:
        UsageError: when nothing is asked for, for the name of a network, which has no trained weights, or for a stage
            without a convolution, or a unit that there is not.
        DataError: for an image that cannot be read.
        OutputError: when a file exists already.
        ClassifierError: when the path is of no classifier.
    """
    wanted = {"filters": filters, "maps": maps is not None, "maximise": bool(maximise)}
    asked = [stem for stem, is_wanted in wanted.items() if is_wanted]
    if not asked:
        raise UsageError("Ask for filters, for the maps of an image, or for units to maximise.")
    folder = Path(out)
    for stem in asked:
        refuse_existing_file(folder / f"{stem}.png")
    refuse_unwritable(folder)
    trained = _opened(classifier, trust)
    seen = trained.preprocess
    size = (seen.channels, seen.height, seen.width)
    pages: dict[str, list[Image.Image]] = {}
    if filters:
        layer = find_rectified(trained.network, stage, size).convolution.name
        pages["filters"] = filters_of(trained.network, layer).sheets()
    if maps is not None:
        pixels, x = _prepared(trained, maps)
        pages["maps"] = feature_maps(trained.network, x, stage).sheets(pixels)
    if maximise:
        found = maximised(trained.network, maximise, size, stage=stage, mean=seen.mean, std=seen.std)
        pages["maximise"] = found.sheets(trained.classes)
    return _written(pages, folder)


def _opened(classifier: str | Path | Run | Classifier, trust: str | None) -> Classifier:
    if isinstance(classifier, Classifier):
        return classifier
    if isinstance(classifier, str) and names_an_architecture(classifier):
        raise UsageError(
            f"{classifier} is the name of a network, whose weights are not trained; "
            "name a classifier or a run to see what it has learnt."
        )
    return Classifier.load(classifier.path if isinstance(classifier, Run) else classifier, device="cpu", trust=trust)


def _prepared(classifier: Classifier, image: Input) -> tuple[np.ndarray, Tensor]:
    """Return `image` as uint8 pixels (H, W, C) as the network takes it, and normalised (1, C, H, W)."""
    try:
        pixels = classifier.preprocess.geometry(opened(image)[0])
    except UnreadableImageError as error:
        name = image if isinstance(image, str | Path) else "The image"
        raise DataError(f"{name} cannot be used: {error}.") from error
    batch = torch.from_numpy(pixels[None].copy())  # (1, H, W, C)
    return pixels, classifier.preprocess.normalise(batch)


def _written(pages: dict[str, list[Image.Image]], folder: Path) -> tuple[Path, ...]:
    """Write the pages of each stem as ``stem.png``, ``stem-2.png``, …, none of which may exist; return the files."""
    files = {
        folder / (f"{stem}.png" if at == 1 else f"{stem}-{at}.png"): page
        for stem, found in pages.items()
        for at, page in enumerate(found, start=1)
    }
    for file in files:
        refuse_existing_file(file)
    for file, page in files.items():
        with replacing(file) as temporary:
            page.save(temporary, "PNG")
    return tuple(files)
