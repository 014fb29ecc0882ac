"""The options that are fields of the recipe: said once, for every verb that trains."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from foveal.cli.completion import complete_model, complete_preset
from foveal.cli.parsing import parse_pairs, parse_size

DATA, SIGHT, NETWORK, TRANSFER = "Data", "What the network sees", "Network", "Transfer from pretrained weights"
TRAINING, ANSWERS, MACHINE = "Training", "What is made of its answers", "Machine"


class Fit(StrEnum):
    letterbox = "letterbox"
    crop = "crop"
    stretch = "stretch"


class SplitBy(StrEnum):
    group = "group"
    image = "image"


class Optimizer(StrEnum):
    sgd = "sgd"
    adam = "adam"
    adamw = "adamw"
    rmsprop = "rmsprop"
    muon = "muon"


class Schedule(StrEnum):
    one_cycle = "one_cycle"
    cosine = "cosine"
    step = "step"
    plateau = "plateau"
    constant = "constant"


class Transfer(StrEnum):
    feature_extraction = "feature_extraction"
    fine_tune = "fine_tune"
    full = "full"
    none = "none"


class Head(StrEnum):
    linear = "linear"
    dense128 = "dense128"
    dense256 = "dense256"
    flatten256 = "flatten256"


class FeaturesEngine(StrEnum):
    auto = "auto"
    torch = "torch"
    onnx = "onnx"
    openvino = "openvino"


class Loss(StrEnum):
    cross_entropy = "cross_entropy"
    focal = "focal"
    mse = "mse"
    rbf = "rbf"
    rbf_mse = "rbf_mse"


class ClassWeights(StrEnum):
    none = "none"
    balanced = "balanced"


class Sampler(StrEnum):
    shuffled = "shuffled"
    balanced = "balanced"


class Calibrate(StrEnum):
    auto = "auto"
    none = "none"
    temperature = "temperature"
    platt = "platt"
    beta = "beta"
    vector = "vector"
    isotonic = "isotonic"


class Log(StrEnum):
    tensorboard = "tensorboard"
    mlflow = "mlflow"


def option(*names: str, panel: str | None = None, help: str, **more: Any) -> Any:
    """Return a typer option of one panel of the help."""
    return typer.Option(*names, rich_help_panel=panel, help=help, show_default=False, **more)


def recipe_options(
    preset: Annotated[
        str | None,
        option(help="A name of `foveal presets` to start from; options change it.", autocompletion=complete_preset),
    ] = None,
    model: Annotated[
        str | None,
        option(
            *("--model", "-m"),
            panel=NETWORK,
            help="A name of `foveal models`, timm:NAME, or package.module:builder of your own (default: lenet5).",
            autocompletion=complete_model,
        ),
    ] = None,
    model_option: Annotated[
        list[str] | None,
        option("--model-option", "-o", panel=NETWORK, help="NAME=VALUE, e.g. activation=relu; may be repeated."),
    ] = None,
    pretrained: Annotated[
        str | None,
        option(
            panel=NETWORK,
            help="Start from published weights: alone the default ones, or a tag of `foveal weights list`.",
        ),
    ] = None,
    transfer: Annotated[
        Transfer | None,
        option(panel=TRANSFER, help="What learns: a new head, then the last block, or all (default: by data size)."),
    ] = None,
    head: Annotated[
        Head | None, option(panel=TRANSFER, help="A new head by name (default: the network's own).")
    ] = None,
    unfreeze: Annotated[
        str | None,
        option(panel=TRANSFER, help="Second stage: last_block, all, or a number of layers."),
    ] = None,
    layer_decay: Annotated[
        float | None,
        option(panel=TRANSFER, help="Second stage: how the rate falls, block by block (default: 0.7)."),
    ] = None,
    head_epochs: Annotated[
        int | None, option(panel=TRANSFER, help="First stage: passes, where a second follows (default: 60).")
    ] = None,
    head_learning_rate: Annotated[
        float | None, option(panel=TRANSFER, help="First stage: the highest rate (default: by optimiser).")
    ] = None,
    head_schedule: Annotated[
        Schedule | None, option(panel=TRANSFER, help="First stage: how the rate moves (default: as --schedule).")
    ] = None,
    head_patience: Annotated[
        int | None, option(panel=TRANSFER, help="First stage: as --patience, which is the default.")
    ] = None,
    features_engine: Annotated[
        FeaturesEngine | None,
        option(panel=TRANSFER, help="What computes the frozen network's features (default: the fastest installed)."),
    ] = None,
    data_dir: Annotated[
        Path | None, option(panel=DATA, help="mnist, cifar10, …: a folder with their files; nothing is downloaded.")
    ] = None,
    manifest: Annotated[
        Path | None, option(panel=DATA, help="A CSV laid over the source, as `foveal data check --fix` writes it.")
    ] = None,
    path_column: Annotated[str | None, option(panel=DATA, help="Manifest: the column of the image's path.")] = None,
    label_column: Annotated[str | None, option(panel=DATA, help="Manifest: the column of the label.")] = None,
    group_column: Annotated[str | None, option(panel=DATA, help="Manifest: the patient, never torn apart.")] = None,
    source_column: Annotated[str | None, option(panel=DATA, help="Manifest: where the image comes from.")] = None,
    split_column: Annotated[
        str | None, option(panel=DATA, help="Manifest: train, validation, test or calibration.")
    ] = None,
    slice_by: Annotated[
        list[str] | None, option(panel=DATA, help="Manifest: measure each value of this column apart; repeat it.")
    ] = None,
    classes: Annotated[
        str | None, option(panel=DATA, help="Allowed classes in order, with commas; others are refused.")
    ] = None,
    skip_unreadable: Annotated[
        bool | None, option("--skip-unreadable", panel=DATA, help="Leave out images that cannot be read.")
    ] = None,
    accept: Annotated[list[str] | None, option(panel=DATA, help="Go on despite this finding; may be repeated.")] = None,
    split_by: Annotated[
        SplitBy | None, option(panel=DATA, help="Never tear a group, or split single images (default: group).")
    ] = None,
    validation: Annotated[
        float | None, option(panel=DATA, help="Share of images for validation (default: 0.15, at most 5,000).")
    ] = None,
    test: Annotated[float | None, option(panel=DATA, help="Share of images for the test (default: 0.15).")] = None,
    calibration: Annotated[
        float | None, option(panel=DATA, help="Share of images for prediction sets and the gate (default: 0).")
    ] = None,
    split_seed: Annotated[int | None, option(panel=DATA, help="Of the split alone (default: --seed).")] = None,
    size: Annotated[
        str | None, option(panel=SIGHT, help="Input side or HEIGHTxWIDTH (default: the network's own).")
    ] = None,
    channels: Annotated[
        int | None, option(panel=SIGHT, help="1 grey or 3 colour (default: as the images are).")
    ] = None,
    fit: Annotated[
        Fit | None, option(panel=SIGHT, help="How other shapes enter the frame (default: letterbox, or the weights').")
    ] = None,
    augment: Annotated[
        str | None,
        option(panel=SIGHT, help="Vary training images: photo, digit, xray, or strengths: xray,rotation_deg=9."),
    ] = None,
    feature_views: Annotated[
        int | None, option(panel=TRANSFER, help="Augmented views that features are kept of, an image (default: 4).")
    ] = None,
    sampler: Annotated[
        Sampler | None, option(panel=TRAINING, help="balanced: every class as often as any other (default: shuffled).")
    ] = None,
    epochs: Annotated[
        int | None,
        option("--epochs", "-e", panel=TRAINING, help="Passes over the images (default: 10 to 40, by their number)."),
    ] = None,
    epoch_images: Annotated[
        int | None, option(panel=TRAINING, help="Images an epoch, the next of an endless stream (default: all).")
    ] = None,
    time_limit: Annotated[
        str | None,
        option(panel=TRAINING, help="End training within this time, schedule fitted to it: 90s, 10m, 1h30m."),
    ] = None,
    batch_size: Annotated[
        int | None, option("--batch-size", "-b", panel=TRAINING, help="Images a step (default: 64).")
    ] = None,
    optimizer: Annotated[
        Optimizer | None, option(panel=TRAINING, help="How the weights move (default: adamw).")
    ] = None,
    learning_rate: Annotated[
        float | None,
        option("--learning-rate", "--lr", panel=TRAINING, help="The highest rate (default: by optimiser)."),
    ] = None,
    weight_decay: Annotated[
        float | None, option(panel=TRAINING, help="Never on norms and biases (default: 0.01).")
    ] = None,
    momentum: Annotated[float | None, option(panel=TRAINING, help="SGD and Muon only (default: 0.9).")] = None,
    nesterov: Annotated[bool | None, option("--nesterov", panel=TRAINING, help="SGD only.")] = None,
    schedule: Annotated[
        Schedule | None, option(panel=TRAINING, help="How the learning rate moves (default: one_cycle).")
    ] = None,
    loss: Annotated[
        Loss | None, option(panel=TRAINING, help="What is made small (default: the network's own, cross_entropy).")
    ] = None,
    focal_gamma: Annotated[
        float | None, option(panel=TRAINING, help="Loss focal: how much sure images lose weight (default: 2).")
    ] = None,
    rubbish_penalty: Annotated[
        float | None, option(panel=TRAINING, help="Loss rbf: the penalty of no class at all (default: 50).")
    ] = None,
    label_smoothing: Annotated[
        float | None, option(panel=TRAINING, help="Share of the target spread over all classes (default: 0).")
    ] = None,
    class_weights: Annotated[
        ClassWeights | None,
        option(panel=TRAINING, help="balanced: rare classes weigh more in the loss (default: none)."),
    ] = None,
    clip_norm: Annotated[
        float | None, option(panel=TRAINING, help="Clip the gradient to this norm (default: off).")
    ] = None,
    patience: Annotated[
        int | None,
        option(
            panel=TRAINING, help="Stop after so many epochs without a better validation loss; 0: never (default: 10)."
        ),
    ] = None,
    seed: Annotated[
        int | None, option(panel=TRAINING, help="Of the split, the weights and the order (default: 0).")
    ] = None,
    calibrate: Annotated[
        Calibrate | None,
        option(panel=ANSWERS, help="How probabilities are calibrated (default: auto, chosen on validation)."),
    ] = None,
    operating_point: Annotated[
        str | None,
        option(panel=ANSWERS, help='"CLASS: sensitivity 0.95" (or specificity, threshold), chosen on validation.'),
    ] = None,
    coverage: Annotated[
        float | None, option(panel=ANSWERS, help="Share of images whose prediction set holds the truth (default: 0.9).")
    ] = None,
    false_alarms: Annotated[
        float | None, option(panel=ANSWERS, help="Of the out-of-domain gate; 0: no gate (default: 0.02).")
    ] = None,
    log: Annotated[
        list[Log] | None, option(panel=TRAINING, help="Also log to tensorboard or mlflow; may be repeated.")
    ] = None,
    device: Annotated[str | None, option(panel=MACHINE, help="auto, cpu, cuda, cuda:1, mps (default: auto).")] = None,
    threads: Annotated[int | None, option(panel=MACHINE, help="CPU threads (default: torch's choice).")] = None,
    mixed_precision: Annotated[
        bool | None, option("--mixed-precision/--no-mixed-precision", panel=MACHINE, help="On CUDA (default: on).")
    ] = None,
    channels_last: Annotated[
        bool | None, option("--channels-last/--no-channels-last", panel=MACHINE, help="Memory layout (default: on).")
    ] = None,
    memory_gib: Annotated[
        float | None, option(panel=MACHINE, help="Keep decoded images on disk above this (default: 4).")
    ] = None,
) -> dict[str, Any]:
    """Return what was said: field of the recipe → value."""
    fields = {
        "preset": preset,
        "data_dir": str(data_dir) if data_dir is not None else None,
        "manifest": str(manifest) if manifest is not None else None,
        "path_column": path_column,
        "label_column": label_column,
        "group_column": group_column,
        "source_column": source_column,
        "split_column": split_column,
        "slice_by": slice_by or None,
        "classes": [name.strip() for name in classes.split(",")] if classes else None,
        "skip_unreadable": skip_unreadable,
        "accept": accept,
        "split_by": split_by.value if split_by else None,
        "validation": validation,
        "test": test,
        "calibration": calibration,
        "split_seed": split_seed,
        "size": parse_size(size),
        "channels": channels,
        "fit": fit.value if fit else None,
        "model": model,
        "model_options": parse_pairs(model_option, "--model-option") if model_option else None,
        "pretrained": pretrained,
        "transfer": transfer.value if transfer else None,
        "head": head.value if head else None,
        "unfreeze": int(unfreeze) if unfreeze and unfreeze.isdecimal() else unfreeze,
        "layer_decay": layer_decay,
        "head_epochs": head_epochs,
        "head_learning_rate": head_learning_rate,
        "head_schedule": head_schedule.value if head_schedule else None,
        "head_patience": head_patience,
        "features_engine": features_engine.value if features_engine else None,
        "augment": augment,
        "feature_views": feature_views,
        "sampler": sampler.value if sampler else None,
        "epochs": epochs,
        "epoch_images": epoch_images,
        "time_limit_s": time_limit,
        "batch_size": batch_size,
        "optimizer": optimizer.value if optimizer else None,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "nesterov": nesterov,
        "schedule": schedule.value if schedule else None,
        "loss": loss.value if loss else None,
        "focal_gamma": focal_gamma,
        "rubbish_penalty": rubbish_penalty,
        "label_smoothing": label_smoothing,
        "class_weights": class_weights.value if class_weights else None,
        "clip_norm": clip_norm,
        "patience": patience,
        "seed": seed,
        "calibrate": calibrate.value if calibrate else None,
        "operating_point": operating_point,
        "coverage": coverage,
        "false_alarms": false_alarms,
        "log": [one.value for one in log] if log else None,
        "device": device,
        "threads": threads,
        "mixed_precision": mixed_precision,
        "channels_last": channels_last,
        "memory_gib": memory_gib,
    }
    return {name: value for name, value in fields.items() if value is not None}


def with_recipe_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give `verb`, which ends in ``**options``, the options of `recipe_options` in their place."""
    hints = {**get_type_hints(verb, include_extras=True), **get_type_hints(recipe_options, include_extras=True)}
    own = [one for one in inspect.signature(verb).parameters.values() if one.kind is not one.VAR_KEYWORD]
    shared = inspect.signature(recipe_options).parameters.values()
    named = [one.replace(annotation=hints[one.name]) for one in (*own, *shared)]
    verb.__annotations__ = {**{one.name: hints[one.name] for one in named}, "return": None}
    verb.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]  # typer reads the options from it
    return verb
