"""Export: a classifier for other engines, kept only if it answers as torch does, on real images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from foveal.classifier import Classifier
from foveal.classifier.card import find_folder
from foveal.classifier.device import choose_device
from foveal.classifier.engine import engine_logits
from foveal.classifier.inference import logits
from foveal.data.sources.manifest import Columns
from foveal.engines.capture import capture, load_program, write_onnx, write_program
from foveal.engines.kinds import Kind, find_kind, need
from foveal.engines.parity import latencies_ms, measure_parity, refuse_apart
from foveal.engines.processor import weight_bits
from foveal.engines.runner import Runner, open_runner, thread_count
from foveal.engines.stored import keep_engine, workshop
from foveal.errors import FovealError, UsageError
from foveal.evaluation.comparison import compare_answers
from foveal.progress import Progress
from foveal.workflows.export_images import ExportImages, find_images
from foveal.workflows.machine import processor

IMAGES = 512  # on which parity, and the accuracy of int8, are measured
MAX_LOSS = 1.0  # points of accuracy that int8 may cost
BATCH = 16
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


@dataclass(frozen=True)
class Exported:
    """An engine that was exported: its name, its files, and what engines.json says of it."""

    engine: str
    files: tuple[Path, ...]
    record: dict[str, Any]


def export(
    classifier: str | Path,
    *,
    to: str,
    int8: bool = False,
    data: object = None,
    columns: Columns | None = None,
    data_dir: str | Path | None = None,
    images: int = IMAGES,
    max_loss: float = MAX_LOSS,
    trust: str | None = None,
    network: nn.Module | None = None,
    progress: bool = True,
) -> Exported:
    """Write the classifier for another engine into its folder, once its answers to real images are torch's.

    Args:
        classifier: a run directory, or a classifier's folder.
        to: ``onnx``, ``openvino`` or ``torch-export``.
        int8: quantise, on training images, and measure what it costs on validation images.
        data: labelled images, or what `foveal.load` takes; without it those that the run was trained on, by its
            own record of splits.
        columns: which column of a manifest holds what.
        data_dir: a folder with the files of a published data set, as for `foveal.load`.
        images: on how many images to measure, at most; drawn by lot with a fixed seed.
        max_loss: how many points of accuracy int8 may cost.
        trust: as for `Classifier.load`.
        network: as for `Classifier.load`, of a classifier whose network was handed over.
        progress: whether to show progress on standard error.

    Raises:
        FovealError: when the answers differ from torch's by more than 1e-4 in a probability, or int8 costs more
            than `max_loss`; nothing is kept then.
        MissingPartError: when a package is not installed.
        ClassifierError: when the network uses an operator that the engine lacks.
        DataError: when there are no images to measure on.
    """
    kind = find_kind(to, int8=int8)
    _need_packages(kind)
    if images < 1:
        raise UsageError("Parity is measured on at least one image.")
    folder = find_folder(Path(classifier))
    loaded = Classifier.load(folder, device="cpu", trust=trust, network=network)
    with Progress(silent=not progress) as display:
        real = find_images(
            folder, loaded, data=data, columns=columns, data_dir=data_dir, most=images, calibrate=int8, progress=display
        )
        with workshop(folder) as part:
            runner = _make(kind, loaded, real, part, display)
            record = _measured(kind, loaded, real, runner, max_loss, display)
            record = keep_engine(folder, part, kind.name, loaded.hash, record)
    return Exported(kind.name, tuple(folder / file for file in kind.files), record)


def _need_packages(kind: Kind) -> None:
    if kind.extra:
        need(kind.extra, *PACKAGES[kind.extra])
    if kind.int8:
        need("onnx", "onnxruntime")  # which quantises for both


def _make(kind: Kind, classifier: Classifier, images: ExportImages, part: Path, progress: Progress) -> Runner:
    """Write the files of `kind` into `part`, and return what runs them."""
    from foveal.engines.open_vino import write_openvino
    from foveal.engines.quantise import quantise

    seen = classifier.preprocess
    progress.line("capturing the network")
    program = capture(classifier.network, (seen.channels, seen.height, seen.width))
    if not kind.extra:
        write_program(program, part / kind.files[0])
        return _program_runner(part / kind.files[0])
    onnx_file = part / "model.onnx"
    write_onnx(program, onnx_file)
    if kind.int8:
        progress.line(f"quantising, on {len(images.calibrating):,} {images.calibrating_are}")
        quantise(onnx_file, part / "model.int8.onnx", _batches(classifier, images.calibrating))
        onnx_file = part / "model.int8.onnx"
    if kind.extra == "openvino":
        write_openvino(onnx_file, part / kind.files[0])
    return open_runner(kind.name, [(part / file).read_bytes() for file in kind.files])


def _measured(
    kind: Kind, classifier: Classifier, images: ExportImages, runner: Runner, max_loss: float, progress: Progress
) -> dict[str, Any]:
    """Return what engines.json says of an engine; FovealError where it is not good enough to be kept."""
    progress.line(f"comparing with torch, on {len(images.measuring):,} {images.measuring_are}")
    cpu = choose_device("cpu")
    seen, pixels = classifier.preprocess, images.measuring
    reference = logits(classifier.network, seen.normalise, pixels, device=cpu, batch_size=BATCH).numpy()
    answers = engine_logits(runner, seen, pixels)
    parity = measure_parity(reference, answers)
    record: dict[str, Any] = {"parity": {**parity.to_dict(), "images": images.measuring_are}}
    if kind.int8:
        record["accuracy"] = _int8_accuracy(reference, answers, images, max_loss)
        if (most := record["accuracy"]["loss"]["high"] * 100) > max_loss:
            progress.line(
                f"note: {len(images.measuring):,} images are too few to exclude a loss of {most:.2f} points; "
                f"--max-loss {max_loss:g} was compared with the loss seen"
            )
        record["calibration"] = {"n": len(images.calibrating), "images": images.calibrating_are}
        record["weight_bits"] = weight_bits()
    else:
        refuse_apart(parity, kind.title)
    if kind.runs:
        record["latency_ms"] = _latency(classifier, runner, pixels[:1])
    record["versions"] = {name: version(name) for name in ("foveal", "torch", *PACKAGES.get(kind.extra, ()))}
    record["hardware"] = {"processor": processor(), "threads": thread_count(None)}
    return record


def _int8_accuracy(reference: np.ndarray, answers: np.ndarray, images: ExportImages, max_loss: float) -> dict[str, Any]:
    """Return both accuracies and the loss with its interval; FovealError when int8 loses more than `max_loss` points.

    The interval is for images of groups where there are groups. What is compared with `max_loss` is the loss seen
    on these images, not an end of the interval.
    """
    right = [one.argmax(axis=1) == images.labels for one in (reference, answers)]
    compared = compare_answers(right[0], right[1], images.units)
    loss = compared.difference
    if not np.isfinite(answers).all() or loss.value * 100 > max_loss:
        raise FovealError(
            f"int8 costs {loss.value * 100:.2f} points of accuracy ({compared.first_accuracy:.2%} to "
            f"{compared.second_accuracy:.2%} on {compared.n:,} {images.measuring_are}; {loss.level:.0%} interval "
            f"{loss.low * 100:.2f} to {loss.high * 100:.2f}), which is more than {max_loss:g}; nothing was kept."
        )
    return {
        "n": compared.n,
        "images": images.measuring_are,
        "fp32": compared.first_accuracy,
        "int8": compared.second_accuracy,
        "loss": loss.to_dict(),
        "max_loss": max_loss / 100,
        "label_agreement": float((reference.argmax(axis=1) == answers.argmax(axis=1)).mean()),
    }


def _latency(classifier: Classifier, runner: Runner, pixels: np.ndarray) -> dict[str, float]:
    """Return the median milliseconds for one image of this engine and of torch, asked in turn."""
    import torch

    threads = torch.get_num_threads()
    seen = classifier.preprocess
    x = seen.normalise_array(pixels)  # (1, C, H, W)
    example = seen.normalise(torch.as_tensor(pixels))

    @torch.inference_mode()
    def ask_torch(_: np.ndarray) -> Any:
        return classifier.network(example)

    try:
        torch.set_num_threads(thread_count(None))
        took = latencies_ms({"engine": runner, "torch": ask_torch}, x)
    finally:
        torch.set_num_threads(threads)
    return {name: round(value, 4) for name, value in took.items()}


def _batches(classifier: Classifier, pixels: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(pixels), BATCH):
        yield classifier.preprocess.normalise_array(pixels[start : start + BATCH])


def _program_runner(file: Path) -> Runner:
    """Return what runs the .pt2 file that was just written."""
    import torch

    module = load_program(file)

    @torch.inference_mode()
    def run(x: np.ndarray) -> np.ndarray:
        result: np.ndarray = module(torch.from_numpy(x)).numpy()
        return result

    return run
