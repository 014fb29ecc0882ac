"""How predictions and classifiers show themselves in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.classifier.classifier import Classifier
from foveal.classifier.inputs import Input, opened
from foveal.classifier.prediction import Prediction
from foveal.errors import FovealError
from foveal.models.anatomy import layer_table
from foveal.models.catalog import find
from foveal.preprocess import size_is_checked_here
from foveal.web import card
from foveal.web.thumbnails import Thumbnail, thumbnail

MOST_PREDICTIONS = 24
MOST_GUESSES = 4
MOST_CLASSES = 40


@dataclass(frozen=True)
class Shown:
    """One prediction of a card."""

    prediction: Prediction
    guesses: list[tuple[str, float, str]]  # class, probability, the same in words
    thumbnail: Thumbnail | None


def predictions_card(predictions: Sequence[Prediction], images: Sequence[Input] = ()) -> str:
    """Return the card of `predictions`; `images` are what was predicted, where they are at hand.

    Without them an image is read again from the path that the prediction names, and shown only if its
    bytes are still those that were predicted.
    """
    shown = []
    for at, one in enumerate(predictions[:MOST_PREDICTIONS]):
        picture = _picture(one, images[at] if at < len(images) else one.input)
        guesses = [(name, share, _percent(share)) for name, share in one.top(MOST_GUESSES)]
        shown.append(Shown(one, guesses, picture))
    return card(
        "foveal.classifier",
        "predictions.html.jinja",
        shown=shown,
        count=len(predictions),
        left_out=max(0, len(predictions) - len(shown)),
    )


def classifier_card(classifier: Classifier) -> str:
    """Return the card of `classifier`: its network, its classes, what it does with an image, where it comes from."""
    entry, seen, origin = find(classifier.architecture), classifier.preprocess, classifier.provenance
    inside = f"{seen.content_height}×{seen.content_width}"
    frame = f"{seen.height}×{seen.width}"
    facts = {
        "parameters": f"{classifier.parameters:,}",
        "image": f"{'grey' if seen.channels == 1 else 'colour'}, {inside}{f' in {frame}' if frame != inside else ''}, "
        f"fit {seen.fit}",
        "trained on": f"{origin['dataset']}, {origin.get('train_images', 0):,} images" if "dataset" in origin else "",
        "hash": classifier.hash[:12] or "not saved yet",
    }
    return card(
        "foveal.classifier",
        "classifier.html.jinja",
        title=f"{entry.title} ({entry.name}{f', {entry.year}' if entry.year else ''})",
        options={name: value for name, value in classifier.options.items() if value != entry.options().get(name)},
        facts={what: words for what, words in facts.items() if words},
        classes=classifier.classes[:MOST_CLASSES],
        count=len(classifier.classes),
        layers=layer_table(classifier.network, seen.channels, seen.height, seen.width),
    )


def _picture(prediction: Prediction, image: Input) -> Thumbnail | None:
    """Return the thumbnail of what was predicted, or None where it is gone or no longer the same."""
    try:
        with size_is_checked_here():
            picture, digest = opened(image)
            return thumbnail(picture) if digest == prediction.input_hash else None
    except (FovealError, OSError):
        return None


def _percent(share: float) -> str:
    """Return a probability in per cent; what is not all is never shown as 100, nor something as 0."""
    words = f"{share:.1%}"
    if words == "100.0%" and share < 1:
        return ">99.9%"
    return "<0.1%" if words == "0.0%" and share > 0 else words
