"""Train: a source in, a proven classifier out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from foveal.errors import UsageError
from foveal.models.foreign.given import lending
from foveal.progress import Progress
from foveal.run import Run
from foveal.training.recipe import Recipe
from foveal.workflows.begin import begin
from foveal.workflows.plan import given_recipe
from foveal.workflows.resume import resume as go_on

if TYPE_CHECKING:
    from torch import nn


def train(
    source: object = None,
    *,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    recipe: Recipe | str | Path | None = None,
    preset: str | None = None,
    trust: str | None = None,
    progress: bool = True,
    data_dir: str | Path | None = None,
    manifest: str | Path | None = None,
    path_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    source_column: str | None = None,
    split_column: str | None = None,
    slice_by: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    skip_unreadable: bool | None = None,
    accept: Sequence[str] | None = None,
    split_by: Literal["group", "image"] | None = None,
    validation: float | None = None,
    test: float | None = None,
    calibration: float | None = None,
    split_seed: int | None = None,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    fit: Literal["letterbox", "crop", "stretch"] | None = None,
    augment: str | None = None,
    feature_views: int | None = None,
    sampler: Literal["shuffled", "balanced"] | None = None,
    pretrained: bool | str | None = None,
    model: str | nn.Module | None = None,
    model_options: Mapping[str, Any] | None = None,
    transfer: Literal["feature_extraction", "fine_tune", "full", "none"] | None = None,
    head: Literal["linear", "dense128", "dense256", "flatten256"] | None = None,
    unfreeze: Literal["last_block", "all"] | int | None = None,
    layer_decay: float | None = None,
    head_epochs: int | None = None,
    head_learning_rate: float | None = None,
    head_schedule: Literal["one_cycle", "cosine", "step", "plateau", "constant"] | None = None,
    head_patience: int | None = None,
    features_engine: Literal["auto", "torch", "onnx", "openvino"] | None = None,
    epochs: int | None = None,
    epoch_images: int | None = None,
    time_limit_s: float | str | None = None,
    batch_size: int | None = None,
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "muon"] | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    momentum: float | None = None,
    nesterov: bool | None = None,
    schedule: Literal["one_cycle", "cosine", "step", "plateau", "constant"] | None = None,
    loss: Literal["cross_entropy", "focal", "mse", "rbf", "rbf_mse"] | None = None,
    focal_gamma: float | None = None,
    rubbish_penalty: float | None = None,
    label_smoothing: float | None = None,
    class_weights: Literal["none", "balanced"] | None = None,
    clip_norm: float | None = None,
    patience: int | None = None,
    seed: int | None = None,
    calibrate: Literal["auto", "none", "temperature", "platt", "beta", "vector", "isotonic"] | None = None,
    operating_point: str | None = None,
    coverage: float | None = None,
    false_alarms: float | None = None,
    log: Sequence[Literal["tensorboard", "mlflow"]] | None = None,
    device: str | None = None,
    threads: int | None = None,
    mixed_precision: bool | None = None,
    channels_last: bool | None = None,
    memory_gib: float | None = None,
) -> Run:
    """Train a classifier and return its run.

    Args:
        source: a Dataset, or anything that `foveal.load` takes.
        out: the run directory to make; ``runs/<source>-<model>`` by default. It must not exist.
        resume: a run directory to go on with instead; everything else is then taken from it (give
            `source` or `data_dir` again only when the run was trained on arrays, or its data have moved, and
            `model` only when it was a network).
        recipe: a Recipe or a TOML file to start from; the arguments below change it.
        preset: a name of ``foveal presets`` to start from instead.
        trust: the ``package.module:builder`` that a recipe's file, or the run to go on with, may run.
        progress: whether to show progress on standard error.
        model: a name of ``foveal models``, ``timm:NAME``, ``package.module:builder``, or a network: a
            torch.nn.Module, or a Keras model on the torch backend. A network is copied, so that training begins
            from the weights that it has and leaves it as it is; the recipe keeps the name of its class only.
        data_dir: … and every further argument: the field of that name in `Recipe`.

    Raises:
        FovealError: one of its classes, each saying what to do (`foveal.errors`).
    """
    given = dict(locals())
    changes = {name: given[name] for name in Recipe.model_fields if name != "source" and given.get(name) is not None}
    with Progress(silent=not progress) as display, lending(model) as name:
        if resume is not None:
            if (
                changes.keys() - {"data_dir", "model"}
                or isinstance(model, str)
                or out is not None
                or recipe is not None
            ):
                raise UsageError(f"resume goes on with the recipe of {resume}; it takes no other options.")
            return go_on(Run(Path(resume)), source, data_dir, display, trust=trust)
        if name is not None:
            changes["model"] = name
        return begin(source, given_recipe(recipe, changes, source, trust=trust), out, display)
