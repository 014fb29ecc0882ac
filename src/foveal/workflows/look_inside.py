"""Looking inside a classifier: pictures of its filters, of what they make of an image, and of what excites them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from foveal.classifier import Classifier
from foveal.classifier.ensemble import Ensemble
from foveal.classifier.inference import logits_and_features
from foveal.classifier.inputs import Input, opened
from foveal.data.dataset import Dataset
from foveal.data.images import Fitting
from foveal.data.load import load
from foveal.errors import DataError, UsageError
from foveal.explanation.embedding import Method, embed, require
from foveal.explanation.embedding_page import Member, embedding_page
from foveal.explanation.exciting import exciting
from foveal.explanation.feature_maps import feature_maps
from foveal.explanation.filters import filters as filters_of
from foveal.explanation.maximisation import maximise as maximised
from foveal.explanation.nonlinearity import find_rectified
from foveal.explanation.receptive_field import draw_fields, effective_field, windows_around
from foveal.explanation.similarity import similarity as likeness
from foveal.files import replacing, write_text
from foveal.preprocess import Preprocess, UnreadableImageError
from foveal.progress import Progress
from foveal.run import Run
from foveal.workflows.inspect import names_an_architecture
from foveal.workflows.place import refuse_existing_file, refuse_unwritable

BATCH = 64  # images held at once
MOST_POINTS = 1000  # of an embedding, each with its picture in the page
PAGE = "embedding.html"


def look_inside(
    classifier: str | Path | Run | Classifier,
    *,
    filters: bool = False,
    maps: Input | None = None,
    maximise: Sequence[int] = (),
    sight: Input | None = None,
    excite: int | None = None,
    data: object | None = None,
    similarity: object | None = None,
    embedding: object | None = None,
    by: Method = "pca",
    stage: str | None = None,
    out: str | Path = ".",
    trust: str | None = None,
    progress: bool = True,
) -> tuple[Path, ...]:
    """Draw the inside of a classifier into PNG files and a page; return them, in order.

    What takes more than a page goes on in ``filters-2.png``, and so on.

    Args:
        classifier: a `Classifier`, or the path of one or of a run.
        filters: draw the weights of a convolution, ``filters.png``.
        maps: an image, whose maps are drawn before and after the non-linearity, ``maps.png``.
        maximise: channels of the stage, or without one classes: draw an image made to excite each, ``maximise.png``.
        sight: an image, on which is drawn how far a cell in the middle of each stage sees, or of `stage` alone, and how
            much each pixel changes that cell, ``sight.png``.
        excite: a channel of the stage: draw the images of `data` that excite it most, ``excite.png``.
        data: anything that `foveal.load` takes.
        similarity: likewise: draw how alike the stages are in what they tell of these images, ``similarity.png``.
        embedding: likewise: show these images, at most 1,000, as points of their features, ``embedding.html``.
        by: how the points are made: ``pca`` or ``umap``.
        stage: by the paper's name or a module's: whose convolution, or whose channels; by default the first
            convolution, for `maximise` the classes, for `excite` and `sight` the last map before pooling.
        out: a folder for the files, of which none may exist.
        trust: the builder that the classifier's file may run, see `Classifier.load`.
        progress: whether to show progress on standard error.

    Raises:
        UsageError: when nothing is asked for, or what does not go together; for a network by name, whose weights are
            not trained; for a stage without a convolution, or a unit that there is not.
        DataError: for an image that cannot be read.
        OutputError: when a file exists already.
        ClassifierError: when the path is of no classifier.
        MissingPartError: for UMAP where it is not installed.
    """
    stems = {
        "filters": filters,
        "maps": maps is not None,
        "maximise": bool(maximise),
        "sight": sight is not None,
        "excite": excite is not None,
        "similarity": similarity is not None,
    }
    asked = [stem for stem, wanted in stems.items() if wanted]
    if not asked and embedding is None:
        raise UsageError("Ask for filters, maps, sight, units to maximise, one to excite, similarity or an embedding.")
    if (excite is None) != (data is None):
        raise UsageError("A unit to excite and the data to look for its images in go together.")
    if stage is not None and not set(asked) & {"filters", "maps", "sight", "maximise", "excite"}:
        raise UsageError("A stage says what filters, maps, sight, maximise or excite are of; ask for one of them.")
    if by != "pca" and embedding is None:
        raise UsageError(f"{by} says how an embedding is made; ask for one.")
    folder = Path(out)
    _refuse_files(folder, asked, None if embedding is None else by)
    trained = _opened(classifier, trust)
    with Progress(silent=not progress) as display:
        pages: dict[str, list[Image.Image]] = {}
        if filters:
            pages["filters"] = _filters(trained, stage)
        if maps is not None:
            pages["maps"] = _maps(trained, maps, stage)
        if sight is not None:
            pages["sight"] = [_sight(trained, sight, stage)]
        if maximise:
            pages["maximise"] = _maximised(trained, maximise, stage)
        if excite is not None:
            pages["excite"] = _exciting(trained, excite, stage, load(data, progress=display), display)
        if similarity is not None:
            pages["similarity"] = [_similarity(trained, load(similarity, progress=display), display)]
        files = _written(pages, folder)
        if embedding is None:
            return files
        write_text(folder / PAGE, _embedding(trained, load(embedding, progress=display), by, display))
    return (*files, folder / PAGE)


def _filters(classifier: Classifier, stage: str | None) -> list[Image.Image]:
    layer = find_rectified(classifier.network, stage, _size(classifier)).convolution.name
    return filters_of(classifier.network, layer).sheets()


def _maps(classifier: Classifier, image: Input, stage: str | None) -> list[Image.Image]:
    pixels, x = _prepared(classifier, image)
    return feature_maps(classifier.network, x, stage).sheets(pixels)


def _maximised(classifier: Classifier, units: Sequence[int], stage: str | None) -> list[Image.Image]:
    mean, std = classifier.preprocess.mean, classifier.preprocess.std
    found = maximised(classifier.network, units, _size(classifier), stage=stage, mean=mean, std=std)
    return found.sheets(classifier.classes)


def _similarity(classifier: Classifier, dataset: Dataset, progress: Progress) -> Image.Image:
    seen = classifier.preprocess
    batches = (pixels for _, pixels in _batches(dataset, seen, progress, shuffled=True))
    return likeness(classifier.network, _size(classifier), batches, normalise=seen.normalise).picture()


def _size(classifier: Classifier) -> tuple[int, int, int]:
    """Return the size (C, H, W) of the images that it takes."""
    return classifier.preprocess.channels, classifier.preprocess.height, classifier.preprocess.width


def _refuse_files(folder: Path, asked: Sequence[str], by: Method | None) -> None:
    """Raise OutputError where a file exists that is to be written, MissingPartError where `by` is not installed."""
    for stem in asked:
        refuse_existing_file(folder / f"{stem}.png")
    if by is not None:
        refuse_existing_file(folder / PAGE)
        require(by)
    refuse_unwritable(folder)


def _opened(classifier: str | Path | Run | Classifier, trust: str | None) -> Classifier:
    if isinstance(classifier, Classifier):
        return classifier
    if isinstance(classifier, str) and names_an_architecture(classifier):
        raise UsageError(
            f"{classifier} is the name of a network, whose weights are not trained; "
            "name a classifier or a run to see what it has learnt."
        )
    loaded = Classifier.load(classifier.path if isinstance(classifier, Run) else classifier, device="cpu", trust=trust)
    if isinstance(loaded, Ensemble):
        raise UsageError(f"{classifier} holds several networks; name the folder of one of them.")
    return loaded


def _prepared(classifier: Classifier, image: Input) -> tuple[np.ndarray, Tensor]:
    """Return `image` as uint8 pixels (H, W, C) as the network takes it, and normalised (1, C, H, W)."""
    try:
        pixels = classifier.preprocess.geometry(opened(image)[0])
    except UnreadableImageError as error:
        name = image if isinstance(image, str | Path) else "The image"
        raise DataError(f"{name} cannot be used: {error}.") from error
    batch = torch.from_numpy(pixels[None].copy())  # (1, H, W, C)
    return pixels, classifier.preprocess.normalise(batch)


def _sight(classifier: Classifier, image: Input, stage: str | None) -> Image.Image:
    """Return the windows of each stage, or of `stage`, on the image, over its effective receptive field."""
    pixels, x = _prepared(classifier, image)
    network, size = classifier.network, (x.shape[1], x.shape[2], x.shape[3])
    device = next(network.parameters()).device
    windows = windows_around(network, size, stages=None if stage is None else [stage])
    return Image.fromarray(draw_fields(pixels, windows, effective=effective_field(network, x.to(device), stage)))


def _exciting(
    classifier: Classifier, unit: int, stage: str | None, dataset: Dataset, progress: Progress
) -> list[Image.Image]:
    seen = classifier.preprocess
    found = exciting(
        classifier.network,
        unit,
        stage,
        (seen.channels, seen.height, seen.width),
        _batches(dataset, seen, progress),
        normalise=seen.normalise,
    )

    def name(row: int) -> str:
        file = str(dataset.record_ids[row]).rsplit("/", 1)[-1]
        return " · ".join(filter(None, (_class_of(dataset, row), file)))

    return found.sheets(name)


def _embedding(classifier: Classifier, dataset: Dataset, by: Method, progress: Progress) -> str:
    """Return the page of the features of at most `MOST_POINTS` images of `dataset`, drawn by chance."""
    network = classifier.network
    device = next(network.parameters()).device
    members: list[Member] = []
    features: list[np.ndarray] = []
    read = _batches(dataset, classifier.preprocess, progress, shuffled=True, most=MOST_POINTS)
    for rows, pixels in read:
        logits, entering = logits_and_features(network, classifier.preprocess.normalise, pixels, device=device)
        features.append(entering)
        for row, picture, answer in zip(rows.tolist(), pixels, logits.argmax(1).tolist(), strict=True):
            name, true = str(dataset.record_ids[row]), _class_of(dataset, row)
            members.append(Member(name, true, classifier.classes[answer], picture))
    if not features:
        raise DataError(f"{dataset.name} has no image that can be read.")
    made = embed(np.concatenate(features), method=by)
    note = f"Drawn by chance out of {len(dataset):,}." if len(dataset) > MOST_POINTS else ""
    return embedding_page(made, members, title=f"{dataset.name} as {classifier.architecture} sees it", note=note)


def _class_of(dataset: Dataset, row: int) -> str:
    """Return the class of an image, empty where it has none."""
    label = int(dataset.labels[row])
    return dataset.classes[label] if label >= 0 else ""


def _batches(
    dataset: Dataset, preprocess: Preprocess, progress: Progress, *, shuffled: bool = False, most: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows and pixels (B, H, W, C) of the first `most` images that can be read, a batch at a time.

    Which cannot be read is said. Shuffled, always alike, where a batch must not be of one class, as a source that is
    ordered by class gives them.
    """
    order = np.random.default_rng(0).permutation(len(dataset)) if shuffled else np.arange(len(dataset))
    order = order[:most]
    quiet, shape = Progress(silent=True), (preprocess.height, preprocess.width, preprocess.channels)
    with progress.stage("looking at images", len(order)) as shown:
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            pixels = np.zeros((len(rows), *shape), np.uint8)
            failed = dataset.images.decode(rows, [Fitting(preprocess, pixels)], quiet)
            for row, reason in failed.items():
                progress.line(f"note: {dataset.record_ids[row]} is left out: {reason}")
            good = ~np.isin(rows, list(failed))
            if good.any():
                yield rows[good], pixels[good]
            shown.advance(len(rows))


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
