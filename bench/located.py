"""Do maps lie on the subject? MNIST on textures, where the place is known, by every method; and a planted shortcut.

A simple CNN learns digits of 28×28 pixels at places by chance in images of 64×64, on gratings, checks and noise. Its
test images are then explained by every method: how often the map's largest value lies in the digit's box, the share of
the map inside it, and the IoU of the box with as many of the strongest pixels, beside the share of the image that the
box takes, which is what chance would give. For Grad-CAM also how often its map is doubted, beside maps that must be
wrong: those of other images. Then the same with a bright square in the corner of every image of one class: where the
map of this class lies, and what the shortcut view says.

    python bench/located.py [--train 8000] [--test 200]

Needs MNIST: FOVEAL_TEST_DATA, or ../shared/data beside the checkout.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np

import foveal
from foveal.explanation.deletion import areas, curves, second_smallest
from foveal.explanation.located import located, mean_share, summarised
from foveal.explanation.methods import METHODS
from foveal.explanation.planted import Planted, plant
from foveal.explanation.subject import answering
from foveal.explanation.target import Target

DATA = Path(os.environ.get("FOVEAL_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
MARKED = 3  # the class with the mark


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=8000)
    parser.add_argument("--test", type=int, default=200)
    options = parser.parse_args()
    mnist = foveal.load(DATA / "mnist")
    order = np.random.default_rng(0).permutation(len(mnist))
    train, test = order[: options.train], order[-options.test :]
    for marked in (None, MARKED):
        learnt = plant(digits(mnist, train), mnist.labels[train], seed=1, marked=marked, share=1.0)
        shown = plant(digits(mnist, test), mnist.labels[test], seed=2, marked=marked, share=1.0)
        with tempfile.TemporaryDirectory() as place:
            data = foveal.load(learnt.images, [str(label) for label in learnt.labels])
            run = foveal.train(data, model="simple_cnn", epochs=6, out=Path(place) / "run", progress=False)
            classifier = foveal.Classifier.load(run.path)
            if marked is None:
                unmarked(classifier, run, shown)
            else:
                with_mark(classifier, shown, Path(place) / "images")


def digits(mnist: foveal.Dataset, rows: np.ndarray) -> np.ndarray:
    """Return the images (N, 28, 28) uint8 at `rows`."""
    return np.stack([np.asarray(mnist.images.picture(row)) for row in rows.tolist()])


def unmarked(classifier: foveal.Classifier, run: foveal.Run, shown: Planted) -> None:
    """Print how well each method's maps lie on the digits, and how often Grad-CAM's is doubted."""
    print(f"accuracy {run.metrics['test']['accuracy']['value']:.3f}, {len(shown.images)} images explained, seed 0")
    print(f"{'method':24}{'points at the digit':>24}{'share inside':>24}{'IoU':>24}   box")
    for method in METHODS:
        found = foveal.explain(classifier, list(shown.images), method=method.name, judged=False, progress=False)
        shares = summarised([located(one.map, mask) for one, mask in zip(found, shown.masks, strict=True)])
        words = "".join(f"{shares[name]!s:>24}" for name in ("pointed", "inside", "iou"))
        print(f"{method.title:24}{words}   {100 * shares['area'].value:.0f} %", flush=True)
    judged = foveal.explain(classifier, list(shown.images[:60]), progress=False)
    maps = np.stack([one.map for one in judged])
    print("doubted: Grad-CAM", mean_share([bool(one.warnings) for one in judged]), end="; ")
    for what in ("deletion", "insertion", "stability", "randomised", "agreement"):
        print(what, doubted_by(judged, what), end=" ")
    subject = answering(classifier)
    import torch

    x = classifier.preprocess.normalise(torch.as_tensor(np.stack([one.picture for one in judged])))
    target = Target(torch.tensor([classifier.classes.index(one.target) for one in judged]))
    wrong = curves(subject.ask(x, 10_000), x, target, np.roll(maps, 1, axis=0))
    beaten = [
        bool(
            areas(one.deletion) < second_smallest(areas(one.moved_deletion))
            and -areas(one.insertion) < second_smallest(-areas(one.moved_insertion))
        )
        for one in wrong
    ]
    print("\nmaps of other images, doubted by deletion or insertion:", mean_share([not one for one in beaten]))


def doubted_by(judged: list[foveal.Explanation], what: str) -> str:
    """Return how many of the maps one figure speaks against."""
    from dataclasses import fields

    from foveal.explanation.faithfulness import Faithfulness

    keep = {what, f"moved_{what}", f"{what}_with"}
    alone = [
        Faithfulness(
            **{one.name: getattr(each.faithfulness, one.name) for one in fields(Faithfulness) if one.name in keep}
        )
        for each in judged
        if each.faithfulness is not None
    ]
    return f"{sum(bool(one.warnings()) for one in alone)}/{len(alone)}"


def with_mark(classifier: foveal.Classifier, shown: Planted, folder: Path) -> None:
    """Print where the map of the marked class lies, and what the shortcut view says."""
    own = np.flatnonzero(shown.labels == MARKED)
    found = foveal.explain(classifier, list(shown.images[own]), target=str(MARKED), judged=False, progress=False)
    on_mark = [located(one.map, mask).inside for one, mask in zip(found, shown.marks[own], strict=True)]
    on_digit = [located(one.map, mask).inside for one, mask in zip(found, shown.masks[own], strict=True)]
    print(f"\nclass {MARKED} with a mark in the corner of {100 * shown.marks[own].mean():.1f} % of the image")
    print("share of Grad-CAM on the mark", mean_share(on_mark), "; on the digit", mean_share(on_digit))
    data = foveal.load(shown.images, [str(label) for label in shown.labels])
    del folder
    view = foveal.find_shortcuts(classifier, data, progress=False)
    print("\n".join(sentence for sentence in view.shortcuts.findings if "shortcut" in sentence))


if __name__ == "__main__":
    main()
