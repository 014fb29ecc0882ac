"""The shortcut view: over many images, where what speaks for each class lies; as pictures, sentences and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from foveal.classifier import Classifier
from foveal.data.dataset import Dataset
from foveal.data.images import in_threads
from foveal.data.load import load
from foveal.errors import DataError, OutputError, listed
from foveal.explanation.colours import overlay
from foveal.explanation.mapping import Wanted, maps_of
from foveal.explanation.methods import Settings, find_method
from foveal.explanation.sheets import Tile, as_rgb, sheets
from foveal.explanation.shortcuts import Box, Shortcuts, ShortcutTally, picture_box
from foveal.files import replacing, write_json
from foveal.preprocess import UnreadableImageError
from foveal.progress import Progress
from foveal.run import Run
from foveal.workflows.explain import opened_classifier

SCHEMA_VERSION = 1
PICTURE, JSON_FILE = "shortcuts.png", "shortcuts.json"
AT_ONCE = 32
MOST_FAILURES = 20  # that are listed


@dataclass(frozen=True, eq=False)
class ShortcutView:
    """Where what speaks for each class lies, over the images that were answered so."""

    shortcuts: Shortcuts
    means: dict[str, np.ndarray]  # class → mean picture (H, W, C) of its images, uint8
    method: str
    classifier_hash: str
    dataset: str
    images: int
    left_out: tuple[str, ...] = ()  # images that could not be read

    def picture(self) -> Image.Image:
        """Return, class by class, the mean image under the mean map, with what lies outside the subject in words."""
        tiles = []
        for view in self.shortcuts.classes:
            positive = np.maximum(view.signed, 0)
            flagged = [sentence for sentence in view.findings() if "shortcut" in sentence]
            mean = as_rgb(self.means[view.label])
            tiles.append(Tile(mean, f"{view.label}: mean of {view.n:,} image{'s' if view.n > 1 else ''}"))
            tiles.append(Tile(overlay(mean, positive), f"what spoke for {view.label}, mean", " ".join(flagged)))
        note = f"{self.images:,} images of {self.dataset}, each by the class it is answered; {self.method}"
        return sheets(tiles, heading="Where the classes are seen", note=note, columns=2, side=320, most=40)[0]

    def save(self, folder: str | Path) -> list[Path]:
        """Write the picture and the figures into the new `folder`; OutputError when it exists."""
        folder = Path(folder)
        if folder.exists():
            raise OutputError(f"{folder} exists already; choose another --out.")
        with replacing(folder / PICTURE) as part:
            self.picture().save(part, "PNG")
        value = {
            "schema_version": SCHEMA_VERSION,
            "dataset": self.dataset,
            "images": self.images,
            "left_out": list(self.left_out),
            "method": self.method,
            "classifier_hash": self.classifier_hash,
            **self.shortcuts.to_dict(),
        }
        write_json(folder / JSON_FILE, value)
        return [folder / PICTURE, folder / JSON_FILE]


def find_shortcuts(
    classifier: Classifier | Run | str | Path,
    data: Dataset | str | Path,
    *,
    method: str = "gradcam",
    stage: str | int | None = None,
    seed: int = 0,
    device: str = "auto",
    trust: str | None = None,
    skip_unreadable: bool = False,
    progress: bool = True,
) -> ShortcutView:
    """Return where what speaks for each class lies, over all images of `data`, each by the class that it is answered.

    Args:
        classifier: a `Classifier`, a run, or the path of one.
        data: a dataset, or a source as `foveal.load` takes it.
        method: of `explain`; one that does not ask very often.
        stage: of class activation maps.
        seed: of the intervals.
        device: where to compute.
        trust: see `Classifier.load`.
        skip_unreadable: whether images that cannot be read are left out; they are refused otherwise.
        progress: whether a bar shows how far it is.

    Raises:
        DataError: for images that cannot be read. UsageError: as `explain`.
    """
    chosen = find_method(method)
    loaded = opened_classifier(classifier, device=device, trust=trust)
    dataset = data if isinstance(data, Dataset) else load(data)
    wanted = Wanted((chosen,), settings=Settings(stage=stage, seed=seed))
    tally = ShortcutTally(loaded.classes)
    sums = _Means()
    failures: list[str] = []
    with (
        Progress(silent=not progress or len(dataset) < 100) as display,
        display.stage("explaining", len(dataset)) as shown,
    ):
        for start in range(0, len(dataset), AT_ONCE):
            rows = range(start, min(start + AT_ONCE, len(dataset)))
            pixels, boxes, failed = _read(loaded, dataset, rows)
            failures += failed
            if failures and not skip_unreadable:
                raise DataError(f"{len(failures)} images cannot be used:\n{listed(failures, MOST_FAILURES)}")
            if len(pixels):
                labels = loaded.answer(pixels).labels
                maps = maps_of(loaded, pixels, labels.tolist(), wanted, chosen).maps
                tally.add(pixels, maps, labels, boxes=boxes)
                sums.add(pixels, labels)
            shown.advance(len(rows))
    if not sums.counts:
        raise DataError(f"{dataset.name} has no image that can be read.")
    means = {loaded.classes[number]: mean for number, mean in sums.means().items()}
    count = len(dataset) - len(failures)
    return ShortcutView(tally.view(seed=seed), means, chosen.title, loaded.hash, dataset.name, count, tuple(failures))


class _Means:
    """Sums of the images of each class, batch after batch."""

    def __init__(self) -> None:
        self.sums: dict[int, np.ndarray] = {}
        self.counts: dict[int, int] = {}

    def add(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        """Add `pixels` (n, H, W, C) of classes `labels` (n,)."""
        for number in np.unique(labels).tolist():
            own = pixels[labels == number]
            self.sums[number] = self.sums.get(number, 0.0) + own.sum(axis=0, dtype=np.float64)
            self.counts[number] = self.counts.get(number, 0) + len(own)

    def means(self) -> dict[int, np.ndarray]:
        """Return class → mean picture (H, W, C) uint8."""
        return {number: np.rint(total / self.counts[number]).astype(np.uint8) for number, total in self.sums.items()}


def _read(classifier: Classifier, dataset: Dataset, rows: range) -> tuple[np.ndarray, list[Box], list[str]]:
    """Return the images at `rows` as the network takes them (n, H, W, C), where each lies in it, and failures."""
    read: dict[int, tuple[np.ndarray, Box]] = {}
    failures: dict[int, str] = {}
    seen = classifier.preprocess

    def look(row: int) -> None:
        try:
            picture = dataset.images.picture(row)
            read[row] = seen.geometry(picture), picture_box(seen, picture.height, picture.width)
        except (UnreadableImageError, OSError) as error:
            failures[row] = f"{dataset.record_ids[row]}: {error}"

    in_threads(look, rows, lambda _: None)
    order = [row for row in rows if row in read]
    pixels = (
        np.stack([read[row][0] for row in order]) if order else np.empty((0, seen.height, seen.width, seen.channels))
    )
    return pixels, [read[row][1] for row in order], [failures[row] for row in sorted(failures)]
