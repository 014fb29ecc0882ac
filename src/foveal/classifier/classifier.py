"""The classifier: a network, its classes and its preprocessing, as one thing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from foveal.classifier import artefact
from foveal.classifier.answers import Answers, Raw, Said, answers_of
from foveal.classifier.card import CARD, Card, find_folder, is_ensemble
from foveal.classifier.decisions import Decisions
from foveal.classifier.device import choose_device, move_network, saying_out_of_memory
from foveal.classifier.engine import engine_logits, engine_probabilities, open_engine, refuse_unfit
from foveal.classifier.inference import BATCH, logits, logits_and_features, probabilities
from foveal.classifier.inputs import Input, as_sequence, opened
from foveal.classifier.prediction import Prediction, Predictions
from foveal.data.images import in_threads
from foveal.engines.kinds import TORCH
from foveal.engines.runner import Runner
from foveal.errors import ClassifierError, DataError, UsageError, listed
from foveal.models.anatomy import layer_table
from foveal.models.catalog import checked_options, create_model, find
from foveal.models.foreign.entry import refuse_untrusted
from foveal.models.foreign.given import lending, refuse_absent
from foveal.models.network import Network, parameter_count
from foveal.preprocess import Preprocess, UnreadableImageError


@dataclass(frozen=True, eq=False)
class Classifier:
    """Says which class an image shows. Made by training, or by `Classifier.load`."""

    network: Network
    architecture: str
    options: dict[str, Any]
    classes: tuple[str, ...]
    preprocess: Preprocess
    provenance: dict[str, Any] = field(default_factory=dict)
    hash: str = ""  # content hash of what is on disk; empty before it is saved
    engine: str = TORCH  # what computes the answers
    runner: Runner | None = None  # the opened engine; None: the network itself
    decisions: Decisions = field(default_factory=Decisions)  # what is made of the network's probabilities

    def __repr__(self) -> str:
        return f"Classifier({self.architecture}: {', '.join(self.classes)})"

    def _repr_html_(self) -> str:
        from foveal.classifier.cards import classifier_card

        return classifier_card(self)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        trust: str | None = None,
        network: nn.Module | None = None,
        engine: str = TORCH,
        threads: int | None = None,
    ) -> Classifier:
        """Return the classifier in a run directory or in its ``classifier`` folder.

        Args:
            path: a run directory, or its ``classifier`` folder; or the folder of a training by folds, which then
                answer together.
            device: where to compute.
            trust: the ``package.module:builder`` that makes the classifier's network, when it is one; without
                it, nothing that a file names is run.
            network: a network like the one that was handed over for training, when the classifier's was. It is
                copied, and the copy takes the stored weights.
            engine: what computes: ``torch``; ``onnx``, ``openvino``, ``onnx-int8`` or ``openvino-int8`` where
                `foveal export` has written it; or ``auto``, the fastest fp32 one that is stored and installed.
            threads: of an engine other than torch; as many as there are cores by default.

        Raises:
            MissingPartError: when the engine's package is not installed.
            ClassifierError: when it is missing, incomplete, damaged, of another shape or not finite, or wants
                to run code that is not trusted.
        """
        if is_ensemble(Path(path)):
            from foveal.classifier.ensemble import load_ensemble

            return load_ensemble(Path(path), device=device, trust=trust, engine=engine, threads=threads)
        folder = find_folder(Path(path))
        card, weights, content_hash = artefact.read(folder)
        preprocess = card.preprocess
        name = str(card.architecture.get("name"))
        options = dict(card.architecture.get("options", {}))
        refuse_untrusted(name, trust, folder / CARD)
        try:
            with (
                lending(network),
                torch.random.fork_rng(devices=[]),
                saying_out_of_memory("it describes a network too large for it"),
            ):
                refuse_absent(name, folder, "Classifier.load(…, network=network)")
                own = create_model(
                    name,
                    classes=len(card.classes),
                    channels=preprocess.channels,
                    size=(preprocess.height, preprocess.width),
                    options=options,
                )
        except (UsageError, TypeError, ValueError) as error:
            raise ClassifierError(f"{folder / CARD} does not describe a network: {error}") from error
        artefact.check_weights(weights, own.state_dict(), folder)
        own.load_state_dict(weights)
        with saying_out_of_memory("use another --device"):
            move_network(own, choose_device(device))
        own.eval()
        answering, runner = open_engine(folder, content_hash, engine, device=device, threads=threads)
        if runner is not None:
            refuse_unfit(runner, answering, preprocess, len(card.classes))
        provenance = dict(card.provenance)
        own_parts = (provenance, content_hash, answering, runner, card.decisions)
        return cls(own, name, options, card.classes, preprocess, *own_parts)

    @classmethod
    def pretrained(
        cls, name: str, tag: str | None = None, *, device: str = "auto", progress: bool = True
    ) -> Classifier:
        """Return a classifier of ImageNet's 1000 classes made of published weights, fetched where they are not here.

        Its preprocessing is the one that the weights were made with; its provenance names their file, its SHA-256,
        where it is from, and its licence.

        Args:
            name: an architecture of `foveal models`, or a line of `foveal weights list`, ``resnet50.a1_in1k``.
            tag: which weights of it; the default ones by default.
            device: where it computes.
            progress: whether to show a download on standard error.

        Raises:
            UsageError: for an unknown name or tag. MissingPartError: for weights that cannot be fetched.
        """
        from foveal.classifier.pretrained import published_parts
        from foveal.models.weights.published import imagenet_classes
        from foveal.progress import Progress

        with Progress(silent=not progress) as display:
            weights, network, options, preprocess, provenance = published_parts(name, tag, display)
        with saying_out_of_memory("use another --device"):
            move_network(network, choose_device(device))
        network.eval()
        return cls(network, weights.model, options, imagenet_classes(), preprocess, provenance)

    def save(self, folder: str | Path) -> str:
        """Write ``classifier.json`` and ``weights.safetensors`` into `folder`; return the content hash.

        Raises OutputError when another classifier lies there.
        """
        entry = find(self.architecture)
        options = {**entry.options(), **checked_options(entry, self.options)}
        size = (self.preprocess.channels, self.preprocess.height, self.preprocess.width)
        card = Card(
            architecture={
                "name": entry.name,
                "options": options,
                "title": entry.title,
                "year": entry.year,
                "paper": entry.paper,
            },
            classes=self.classes,
            preprocess=self.preprocess,
            parameters=self.parameters,
            layers=tuple(layer.to_dict() for layer in layer_table(self.network, *size)),
            provenance=self.provenance,
            decisions=self.decisions,
        )
        return artefact.write(Path(folder), card, self.network.state_dict())

    def predict(self, images: Input | Iterable[Input]) -> Predictions:
        """Return one prediction an image, in order: a list, which a notebook shows with the images.

        Args:
            images: a path (of a folder: all images below it), a picture, a uint8 array (H, W) or
                (H, W, 1 or 3), or several of these; an array (N, H, W) or (N, H, W, C) is several.

        Raises:
            DataError: listing every image that cannot be read; nothing is predicted then.
        """
        inputs = as_sequence(images)
        results = list(self.stream(inputs))
        failures = [str(one) for one in results if isinstance(one, FailedInput)]
        if failures:
            raise DataError(f"{len(failures)} of {len(inputs)} images cannot be used:\n{listed(failures)}")
        return Predictions((one for one in results if isinstance(one, Prediction)), inputs)

    def stream(self, images: Sequence[Input], batch_size: int = BATCH) -> Iterator[Prediction | FailedInput]:
        """Yield a prediction or a failure for each image, in order, holding one batch in memory."""
        for start in range(0, len(images), batch_size):
            read = self._read_all(images[start : start + batch_size], start)
            pixels = [one[2] for one in read if not isinstance(one, FailedInput)]
            answers = iter(self.answer(np.stack(pixels)).rows()) if pixels else iter(())
            for one in read:
                yield one if isinstance(one, FailedInput) else self._prediction(one[0], one[1], next(answers))

    @property
    def parameters(self) -> int:
        """The number of trainable parameters."""
        return parameter_count(self.network)

    def probabilities(self, pixels: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Return calibrated probabilities (N, classes) for uint8 `pixels` (N, H, W, C) as the preprocessing gives them.

        With `rows`, for the images at these rows only.
        """
        return self.decisions.calibrated(self.raw(pixels, rows).probabilities)

    def answer(self, pixels: np.ndarray, rows: np.ndarray | None = None) -> Answers:
        """Return all that the classifier says of these images: probabilities, labels, sets, and where it abstains."""
        raw = self.raw(pixels, rows, features=self.decisions.gate is not None)
        return answers_of(self.decisions, raw, lambda part: pixels[part if rows is None else rows[part]])

    def raw(self, pixels: np.ndarray, rows: np.ndarray | None = None, *, features: bool = False) -> Raw:
        """Return what the network alone says: probabilities before calibration, logits and, if asked, `features`."""
        if not len(pixels if rows is None else rows):
            return Raw(np.empty((0, len(self.classes))), np.empty((0, len(self.classes)), np.float32), None)
        entering = None
        with saying_out_of_memory("ask for fewer images at once"):
            if self.runner is not None:
                values = engine_logits(self.runner, self.preprocess, pixels, rows=rows)
                result = engine_probabilities(values)
            else:
                device, normalise = next(self.network.parameters()).device, self.preprocess.normalise
                ask = (self.network, normalise, pixels)
                if features:
                    tensor, entering = logits_and_features(*ask, rows=rows, device=device)
                else:
                    tensor = logits(*ask, rows=rows, device=device)
                values, result = tensor.numpy(), probabilities(tensor)
        if not np.isfinite(result).all():
            raise ClassifierError(f"{self} answers with values that are no numbers; its weights are out of range.")
        return Raw(result, values, entering)

    def _read_all(self, images: Sequence[Input], start: int) -> list[tuple[str, str, np.ndarray] | FailedInput]:
        """Return what `_read` gives for each of `images`, of which the first has the position `start`."""
        read: dict[int, tuple[str, str, np.ndarray] | FailedInput] = {}

        def look(at: int) -> None:
            read[at] = self._read(images[at], start + at)

        in_threads(look, range(len(images)), lambda _: None)
        return [read[at] for at in range(len(images))]

    def _read(self, image: Input, position: int) -> tuple[str, str, np.ndarray] | FailedInput:
        """Return (name, hash, pixels (H, W, C)) of one input."""
        name = str(image) if isinstance(image, str | Path) else f"#{position}"
        try:
            picture, digest = opened(image)
            return name, digest, self.preprocess.geometry(picture)
        except UnreadableImageError as error:
            return FailedInput(name, str(error))

    def _prediction(self, name: str, digest: str, said: Said) -> Prediction:
        row, classes = said.probabilities, self.classes
        operating = self.decisions.operating
        return Prediction(
            label=classes[said.label],
            probability=float(row[said.label]),
            probabilities=dict(zip(classes, row.tolist(), strict=True)),
            input=name,
            input_hash=digest,
            classifier_hash=self.hash,
            engine=self.engine,
            abstain=said.abstained,
            uncertainty=said.uncertainty,
            prediction_set=None if said.in_set is None else tuple(np.array(classes, object)[said.in_set].tolist()),
            threshold=None if operating is None else str(operating),
        )


@dataclass(frozen=True)
class FailedInput:
    """An image that could not be read, and why."""

    input: str
    reason: str

    def __str__(self) -> str:
        return f"{self.input}: {self.reason}"
