"""What the Tab key offers: names of networks, presets and data sets, and runs. Nothing heavy is imported for it.

A function here returns (word, explanation) pairs that begin with what was typed. An empty answer lets the
shell complete file names by itself, which it does better.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

Words = list[tuple[str, str]]

# The names of foveal.data.catalog, which takes NumPy to load; a test holds the two together.
SOURCES = {
    "digits": "1,797 digits of 8×8 pixels, embedded",
    "noise": "random images with random labels",
    "mnist": "70,000 handwritten digits",
    "fashion_mnist": "70,000 pieces of clothing",
    "cifar10": "60,000 small photos in 10 classes",
    "cifar100": "60,000 small photos in 100 classes",
    "cifar100_coarse": "the same in 20 classes",
}

# The names of foveal.explanation.methods, which takes torch to load; a test holds the two together.
METHODS = {
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "layercam": "Layer-CAM",
    "scorecam": "Score-CAM",
    "eigencam": "Eigen-CAM",
    "guided-backprop": "Guided backpropagation",
    "integrated-gradients": "Integrated gradients",
    "smoothgrad": "SmoothGrad",
    "occlusion": "Occlusion",
    "rise": "RISE",
}


def complete_model(incomplete: str) -> Words:
    """Return the architectures of the catalog."""
    from foveal.models.catalog import CATALOG

    entries = ((entry.name, f"{entry.title}, {entry.parameters:,} parameters") for entry in CATALOG.values())
    return _spelt(incomplete, entries)


def complete_method(incomplete: str) -> Words:
    """Return the explainers."""
    return _spelt(incomplete, METHODS.items())


def complete_preset(incomplete: str) -> Words:
    """Return the presets."""
    from foveal.training.preset import presets

    return _spelt(incomplete, ((preset.name, preset.about) for preset in presets().values()))


def complete_source(incomplete: str) -> Words:
    """Return the names of data sets, with what lies here and begins alike; nothing where no name does."""
    names = _spelt(incomplete, SOURCES.items())
    return [*names, *((word, "a folder here") for word, _ in _folders(incomplete))] if names else []


def complete_run(incomplete: str) -> Words:
    """Return the run directories where the word points to, and those in runs/."""
    places = {
        word: folder for word, folder in (*_folders(incomplete), *_folders("runs/")) if word.startswith(incomplete)
    }
    runs = sorted((word, folder) for word, folder in places.items() if (folder / "recipe.toml").is_file())
    return [(word, _state(folder)) for word, folder in runs]


def _state(folder: Path) -> str:
    known = {
        "report.html": "finished",
        "repeats.json": "repeats",
        "folds.html": "folds",
        "learning_curve.html": "learning curve",
    }
    return next((said for name, said in known.items() if (folder / name).is_file()), "not finished")


def complete_another_run(context: typer.Context, incomplete: str) -> Words:
    """Return the run directories that are not on the command line yet."""
    given = {str(one) for one in context.params.get("runs") or ()}
    return [(word, help) for word, help in complete_run(incomplete) if word not in given]


def _spelt(incomplete: str, words: Iterable[tuple[str, str]]) -> Words:
    """Return the words that begin with `incomplete`, spelt with ``-`` where it is: the two are equal everywhere."""
    dashes = "-" in incomplete
    spelt = ((word.replace("_", "-") if dashes else word, help) for word, help in words)
    return [(word, help) for word, help in spelt if word.startswith(incomplete)]


def _folders(incomplete: str) -> Iterator[tuple[str, Path]]:
    """Yield (as typed, folder) of the folders that begin with `incomplete`; ``~`` is the home folder."""
    head, slash, tail = incomplete.rpartition("/")
    try:
        place = Path(f"{head}{slash}").expanduser()
        found = sorted(one for one in place.iterdir() if one.name.startswith(tail) and one.is_dir())
    except (OSError, RuntimeError):  # nothing there, or no home folder
        return
    for folder in found:
        if not folder.name.startswith(".") or tail.startswith("."):
            yield f"{head}{slash}{folder.name}", folder
