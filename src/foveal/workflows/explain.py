"""Explaining images: from a classifier and images to maps, with their figures; and writing them into a folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from foveal.classifier import Classifier
from foveal.classifier.inputs import Input, as_sequence, opened
from foveal.data.images import in_threads
from foveal.errors import DataError, OutputError, UsageError, listed
from foveal.explanation.explain import Image, class_number, explain_images
from foveal.explanation.explanation import Explanation, Explanations
from foveal.explanation.judging import ANSWERS_A_MAP
from foveal.explanation.mapping import Wanted, normalised
from foveal.explanation.methods import METHODS, Method, Settings, find_method
from foveal.explanation.stage_views import StageView, views_of_batches
from foveal.explanation.stages import find_stage
from foveal.explanation.subject import answering
from foveal.files import replacing, write_json, write_text
from foveal.preprocess import UnreadableImageError
from foveal.progress import Progress
from foveal.report.explanations import MOST_IMAGES, explanations_page
from foveal.run import Run
from foveal.workflows.subjects import located_by_method, read_subjects, with_subjects

SCHEMA_VERSION = 1
TITLE = "Why the classifier says so"
ALL_CLASSES = "all"
MOST_CLASSES = 12  # that ``all`` means; more would be no picture any more
JSON_FILE, PAGE_FILE, SHEET = "explanations.json", "explain.html", "sheet"
MOST_LETTERS = 40  # of an image's name in that of its file
MANY_PASSES = 300  # asked images from which on progress is shown


def explain(
    classifier: Classifier | Run | str | Path,
    images: Input | Iterable[Input],
    *,
    method: str | Sequence[str] = "gradcam",
    target: str | Sequence[str] | None = None,
    against: str | None = None,
    stage: str | int | None = None,
    samples: int | None = None,
    window: int | None = None,
    stride: int | None = None,
    seed: int = 0,
    judged: bool = True,
    masks: str | Path | None = None,
    boxes: str | Path | None = None,
    device: str = "auto",
    engine: str = "torch",
    trust: str | None = None,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> Explanations:
    """Return why a classifier gives images their classes: one explanation an image, method and class, in this order.

    Args:
        classifier: a `Classifier`, a run, or the path of one.
        images: as `Classifier.predict` takes them.
        method: gradcam, gradcam++, hirescam, layercam, scorecam, eigencam, guided-backprop, integrated-gradients,
            smoothgrad, occlusion or rise; or several of them.
        target: the class to explain, or several; ``all`` for every one; None: the one that each image is answered.
        against: another class: why it is the target rather than this one.
        stage: of class activation maps: the name or number of a stage, or a module; the last map before pooling.
        samples: masks of RISE (1000), copies of SmoothGrad (25), steps of integrated gradients (32).
        window: side of occlusion's window in pixels; a seventh of the shorter side.
        stride: of occlusion's window; half of it.
        seed: of masks and noise.
        judged: whether each map is measured: deletion and insertion, stability, shuffled weights, agreement.
        masks: a folder with masks of the subjects, white where they are, called like the images.
        boxes: a CSV file with the columns image, left, top, right, bottom: where the subjects are, in pixels.
        device: where to compute.
        engine: what answers; an engine other than torch has answers only, for occlusion and rise.
        trust: the builder that the classifier's file may run, see `Classifier.load`.
        skip_unreadable: whether images that cannot be read are left out; they are refused otherwise.
        progress: whether long work shows how far it is.

    Raises:
        UsageError: for an unknown method, class or stage, or a method that does not suit the network.
        DataError: listing the images that cannot be read.
        MissingPartError: without captum, for integrated gradients and SmoothGrad.
    """
    methods = tuple(dict.fromkeys(find_method(one) for one in ([method] if isinstance(method, str) else method)))
    if not methods:
        raise UsageError("Name at least one method.")
    settings = Settings(stage, samples, window, stride, seed)
    _refuse_idle(methods, settings)
    loaded = opened_classifier(classifier, device=device, engine=engine, trust=trust)
    other = None if against is None else class_number(loaded, against)
    wanted = Wanted(methods, _classes(loaded, target, other), other, settings, judged)
    inputs = as_sequence(images)
    read = read_images(loaded, inputs, skip_unreadable=skip_unreadable)
    asked = masks is not None or boxes is not None
    subjects = read_subjects(inputs, loaded.preprocess, masks=masks, boxes=boxes) if asked else {}
    passes = _passes(loaded, read, wanted)
    with (
        Progress(silent=not progress or passes < MANY_PASSES) as display,
        display.stage("explaining", passes) as shown,
    ):
        return with_subjects(explain_images(loaded, read, wanted, told=shown.advance), subjects)


def read_images(classifier: Classifier, images: Sequence[Input], *, skip_unreadable: bool = False) -> list[Image]:
    """Return `images` as the network takes them; DataError lists those that cannot be read."""
    read: dict[int, Image] = {}
    failures: dict[int, str] = {}

    def look(at: int) -> None:
        one = images[at]
        name = str(one) if isinstance(one, str | Path) else f"#{at}"
        try:
            picture, digest = opened(one)
            read[at] = Image(classifier.preprocess.geometry(picture), name, digest)
        except UnreadableImageError as error:
            failures[at] = f"{name}: {error}"

    in_threads(look, range(len(images)), lambda _: None)
    if failures and (not skip_unreadable or not read):
        lines = listed(failures[at] for at in sorted(failures))
        raise DataError(f"{len(failures)} of {len(images)} images cannot be used:\n{lines}")
    if not read:
        raise DataError("There are no images to explain.")
    return [read[at] for at in sorted(read)]


def see_stages(classifier: Classifier, explanations: Explanations) -> list[list[StageView]]:
    """Return what the stages of the classifier's network see of the explained images that a page shows.

    None where another engine than torch answers, or several networks do.
    """
    network = answering(classifier).network
    if network is None:
        return []
    pictures = np.stack([row[0].picture for row in explanations.by_image()[:MOST_IMAGES]])
    return views_of_batches(network, normalised(classifier, pictures))


def write_explanations(
    explanations: Explanations, folder: Path, views: Sequence[Sequence[StageView]] = (), *, title: str = TITLE
) -> list[Path]:
    """Write the page, contact sheets, a picture of each explanation, and the figures as JSON, into the new `folder`.

    `views` are what the stages see of each image, for the page. Returns the files in the order in which one looks at
    them. Raises OutputError when the folder exists.
    """
    if folder.exists():
        raise OutputError(f"{folder} exists already; choose another --out.")
    files = [_write_picture(one, folder, at) for at, one in enumerate(explanations, start=1)]
    pages = explanations.sheets()
    names = [f"{SHEET}{f'-{at}' if at > 1 else ''}.png" for at in range(1, len(pages) + 1)]
    for name, page in zip(names, pages, strict=True):
        with replacing(folder / name) as part:
            page.save(part, "PNG")
    value = {
        "schema_version": SCHEMA_VERSION,
        "located": {
            title: {name: share.to_dict() for name, share in shares.items()}
            for title, shares in located_by_method(explanations).items()
        },
        "explanations": [{"file": file.name, **one.to_dict()} for one, file in zip(explanations, files, strict=True)],
    }
    write_json(folder / JSON_FILE, value)
    write_text(folder / PAGE_FILE, explanations_page(explanations, views, title=title))
    return [folder / PAGE_FILE, *(folder / name for name in names), folder / JSON_FILE, *files]


def _write_picture(one: Explanation, folder: Path, number: int) -> Path:
    parts = [f"{number:04d}", Path(one.input).stem[:MOST_LETTERS], one.method, one.target]
    parts += ["not", one.against] if one.against else []
    file = folder / (re.sub(r"[^\w.+-]+", "-", "-".join(parts)) + ".png")
    with replacing(file) as part:
        one.sheet().save(part, "PNG")
    return file


def opened_classifier(
    classifier: Classifier | Run | str | Path, *, device: str = "auto", engine: str = "torch", trust: str | None = None
) -> Classifier:
    """Return the classifier of a run or at a path, or the one given."""
    if isinstance(classifier, Classifier):
        return classifier
    path = classifier.path if isinstance(classifier, Run) else Path(classifier)
    return Classifier.load(path, device=device, engine=engine, trust=trust)


def _refuse_idle(methods: Sequence[Method], settings: Settings) -> None:
    """Raise UsageError for a choice that none of `methods` makes use of."""
    uses = {
        "stage": [one.name for one in METHODS if one.has_stage],
        "samples": ["rise", "smoothgrad", "integrated-gradients"],
        "window": ["occlusion"],
        "stride": ["occlusion"],
    }
    for name, names in uses.items():
        if getattr(settings, name) is not None and not any(one.name in names for one in methods):
            asked = " and ".join(one.title for one in methods)
            raise UsageError(f"{asked} has no {name} to choose; it is of {', '.join(names)}.")


def _classes(classifier: Classifier, target: str | Sequence[str] | None, against: int | None) -> tuple[int | None, ...]:
    if target is None:
        return (None,)
    names = [target] if isinstance(target, str) else list(target)
    if names == [ALL_CLASSES] and ALL_CLASSES not in classifier.classes:
        if len(classifier.classes) > MOST_CLASSES:
            raise UsageError(
                f"The classifier knows {len(classifier.classes):,} classes, of which all are no picture any more; name "
                f"those to explain, at most {MOST_CLASSES}."
            )
        return tuple(number for number in range(len(classifier.classes)) if number != against)
    return tuple(dict.fromkeys(class_number(classifier, name) for name in names))


def _passes(classifier: Classifier, images: Sequence[Image], wanted: Wanted) -> int:
    """Return how many images the network will be asked about, as far as is told."""
    x = normalised(classifier, np.stack([images[0].pixels]))
    each = 0
    for method in wanted.methods:
        network = answering(classifier).network
        channels = 0
        if method.name == "scorecam" and network is not None:
            channels = find_stage(network, wanted.settings.stage, (x.shape[1], x.shape[2], x.shape[3])).shape[0]
        own = method.passes(x, wanted.settings, channels)
        each += own + (ANSWERS_A_MAP if wanted.judged else 0)
    return each * len(images) * len(wanted.classes)
