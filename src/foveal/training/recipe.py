"""The recipe: every choice of a training run, frozen, to and from TOML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from foveal.data.augment.policy import Augment
from foveal.data.sources.manifest import Columns
from foveal.errors import ClassifierError, UsageError, nearest
from foveal.files import write_text
from foveal.models.catalog import find
from foveal.run import SCHEMA_VERSION, read_toml
from foveal.training.time_limit import parse_duration

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Seconds = Annotated[Positive, BeforeValidator(parse_duration)]

# Of the rates below, for published weights. EfficientNet-Lite0, 99 training photos of five flowers, 96 px, 10 epochs
# of AdamW, one seed, 81 test photos: 0.003 forgets (32 %), 0.001 58 %, 0.0003 56 % and still falling loss, 0.0001 41 %.
PRETRAINED_SHARE = 0.1
LEARNING_RATES = {"sgd": 0.05, "adam": 0.003, "adamw": 0.003, "rmsprop": 0.001, "muon": 0.03}
IMAGES_WORTH_SEEING = 500_000
FEWEST_EPOCHS, MOST_EPOCHS = 10, 40
HEAD_EPOCHS, FINE_EPOCHS = 60, 10  # of a head on features, where an epoch takes no time; of what follows it
STAGE_FIELDS = ("unfreeze", "head_epochs", "head_learning_rate", "head_schedule", "head_patience")
PENALTY_LOSSES = ("rbf", "rbf_mse")
LOSS_OPTIONS = {"cross_entropy": "label_smoothing", "focal": "focal_gamma", "rbf": "rubbish_penalty"}


def square(side: object) -> object:
    """Return (side, side) for one whole number, anything else as it is."""
    return (side, side) if isinstance(side, int) else side


def as_text(place: object) -> object:
    """Return a path as text, anything else as it is."""
    return str(place) if isinstance(place, Path) else place


def as_tag(tag: object) -> object:
    """Return "default" for True and None for False, anything else as it is."""
    return ("default" if tag else None) if isinstance(tag, bool) else tag


def as_policy(text: object) -> object:
    """Return the text of an augmentation, checked, and None for none."""
    if not isinstance(text, str):
        return text
    try:
        policy = Augment.parse(text)
    except UsageError as error:
        raise ValueError(str(error).rstrip(".")) from error
    return text if policy.changes_images or policy.mixes_images else None


class Recipe(BaseModel):
    """Every choice of a training run. A field left at None is chosen from the data when training begins.

    The same names are the options of ``foveal train`` (with dashes) and the arguments of ``foveal.train``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    preset: str | None = None  # where the defaults came from; what they were stands in the other fields

    # data
    source: str = ""
    data_dir: Annotated[str | None, BeforeValidator(as_text)] = None  # the files of a source of the catalog
    manifest: Annotated[str | None, BeforeValidator(as_text)] = None  # laid over the source, see `data.overlay`
    path_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    source_column: str | None = None
    split_column: str | None = None
    slice_by: tuple[str, ...] = ()  # each value of them is measured apart
    classes: tuple[str, ...] | None = None
    skip_unreadable: bool = False
    accept: tuple[str, ...] = ()
    split_by: Literal["group", "image"] = "group"
    validation: Share = 0.15
    test: Share = 0.15
    calibration: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share held back for prediction sets and the gate
    split_seed: Seed | None = None  # None: that of the run

    # what the network sees
    size: Annotated[tuple[Count, Count], BeforeValidator(square)] | None = None  # (height, width), or one side
    channels: Literal[1, 3] | None = None
    fit: Literal["letterbox", "crop", "stretch"] | None = None  # None: letterbox, or as pretrained weights need it

    augment: Annotated[str | None, BeforeValidator(as_policy)] = None  # a preset, or strengths: "xray,rotation_deg=10"
    feature_views: Annotated[int, Field(ge=1, le=64)] = 4  # augmented views an image, where features are kept of them
    sampler: Literal["shuffled", "balanced"] = "shuffled"  # balanced: every class as often as any other

    # the network
    model: str = "lenet5"
    model_options: dict[str, str | int | float | bool] = {}
    pretrained: Annotated[str | None, BeforeValidator(as_tag)] = None  # "default", a tag, or TAG@SHA256, once known

    # transfer, see `training.transfer`: in two stages, the first of which trains a new head alone
    transfer: Literal["feature_extraction", "fine_tune", "full", "none"] | None = None  # None: by the number of images
    head: Literal["linear", "dense128", "dense256", "flatten256"] | None = None  # None: the network's own
    unfreeze: Literal["last_block", "all"] | Count | None = None  # of the second stage; a number: so many layers
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.7  # of the learning rate, from stage to stage downwards
    head_epochs: Count | None = None  # of the first stage, where a second follows; and so the next three
    head_learning_rate: Positive | None = None
    head_schedule: Literal["one_cycle", "cosine", "step", "plateau", "constant"] | None = None
    head_patience: Annotated[int, Field(ge=0)] | None = None
    features_engine: Literal["auto", "torch", "onnx", "openvino"] = "auto"  # what computes a frozen network's features

    # training
    epochs: Count | None = None
    epoch_images: Count | None = None  # None: all training images
    time_limit_s: Seconds | None = None  # also as "90s", "10m", "1h30m"
    batch_size: Count = 64
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "muon"] = "adamw"
    learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # SGD and Muon only
    nesterov: bool = False  # SGD only
    schedule: Literal["one_cycle", "cosine", "step", "plateau", "constant"] = "one_cycle"
    loss: Literal["cross_entropy", "focal", "mse", "rbf", "rbf_mse"] | None = None  # None: the architecture's own
    focal_gamma: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0  # loss focal only
    rubbish_penalty: Positive = 50.0  # loss rbf only: the paper's j
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0  # loss cross_entropy only
    class_weights: Literal["none", "balanced"] = "none"
    clip_norm: Positive | None = None
    patience: Annotated[int, Field(ge=0)] = 10  # epochs without a better validation loss; 0: never stop early
    seed: Seed = 0

    # what is made of its answers, see `workflows.deciding`
    calibrate: Literal["auto", "none", "temperature", "platt", "beta", "vector", "isotonic"] = "auto"
    operating_point: str | None = None  # "CLASS: sensitivity 0.95", "CLASS: specificity 0.9", "CLASS: threshold 0.3"
    coverage: Share = 0.9  # of prediction sets: the share of images whose set is to hold the true class
    false_alarms: Annotated[float, Field(ge=0, lt=0.5)] = 0.02  # of the out-of-domain gate; 0: no gate

    # records
    log: tuple[Literal["tensorboard", "mlflow"], ...] = ()

    # the machine
    device: str = "auto"
    threads: Count | None = None
    mixed_precision: bool = True  # on CUDA only
    channels_last: bool = True
    memory_gib: Positive = 4.0  # above this the decoded images are memory-mapped from disk

    @model_validator(mode="after")
    def _nesterov_is_sgds(self) -> Recipe:
        if self.nesterov and self.optimizer != "sgd":
            raise ValueError(f"nesterov goes with the optimizer sgd, not {self.optimizer}")
        return self

    @model_validator(mode="after")
    def _transfer_fits(self) -> Recipe:
        """Refuse what belongs to a transfer without weights to transfer, and a stage's options without the stage."""
        staged = {name: getattr(self, name) for name in STAGE_FIELDS if getattr(self, name) is not None}
        if self.pretrained is None and self.transfer not in (None, "none"):
            raise ValueError(f"transfer {self.transfer} needs pretrained weights (--pretrained): nothing else is known")
        if staged and (self.pretrained is None or self.transfer in ("feature_extraction", "none")):
            name = next(iter(staged))
            if self.transfer == "feature_extraction" and name.startswith("head_"):
                raise ValueError(f"the head is all that feature_extraction trains: say {name[5:]}, not {name}")
            lacking = "without pretrained weights" if self.pretrained is None else f"in the transfer {self.transfer}"
            raise ValueError(f"there is no second stage {lacking}, to which {name} belongs")
        return self

    @model_validator(mode="after")
    def _mixing_fits(self) -> Recipe:
        if self.augmentation.mixes_images and self.loss not in (None, "cross_entropy"):
            raise ValueError(f"mixup and cutmix make soft labels, which the loss {self.loss} cannot take")
        return self

    @property
    def augmentation(self) -> Augment:
        """What is done to training images."""
        return Augment.parse(self.augment) if self.augment else Augment()

    @property
    def is_two_staged(self) -> bool:
        """Whether a new head learns first, and more of the network afterwards."""
        return self.transfer in ("fine_tune", "full")

    @model_validator(mode="after")
    def _loss_fits(self) -> Recipe:
        """Refuse a loss that the network cannot have, and an option of another loss; once the loss is known."""
        if self.loss is None:
            return self
        if self.loss in PENALTY_LOSSES and find(self.model).loss not in PENALTY_LOSSES:
            raise ValueError(f"the loss {self.loss} is for networks with penalties (lenet5_1998), not {self.model}")
        for loss, name in LOSS_OPTIONS.items():
            if loss != self.loss and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} goes with the loss {loss}, not {self.loss}")
        return self

    @property
    def _share(self) -> float:
        """Of the usual learning rate: less for published weights, and for networks that diverge at it."""
        return PRETRAINED_SHARE if self.pretrained else find(self.model).rate

    @property
    def columns(self) -> Columns:
        """Which column of a manifest holds what."""
        named = (self.path_column, self.label_column, self.group_column, self.source_column, self.split_column)
        return Columns(*named, slices=self.slice_by)

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """Return this recipe with `changes`; UsageError names an unknown field (and the nearest) or a bad value."""
        return parse_recipe({**self.model_dump(exclude_unset=True), **changes})

    def resolved(
        self,
        *,
        train_images: int,
        size: tuple[int, int],
        channels: int,
        device: str,
        threads: int,
        fit: str = "letterbox",
    ) -> Recipe:
        """Return this recipe with everything chosen that was left open; what was said stays.

        Epochs: so many that about half a million images are seen, from 10 to 40; in a transfer, `HEAD_EPOCHS` of a
        head and `FINE_EPOCHS` of what follows it. A new head learns at the optimiser's usual rate.
        """
        epoch_images = self.epoch_images or train_images
        epochs = min(MOST_EPOCHS, max(FEWEST_EPOCHS, math.ceil(IMAGES_WORTH_SEEING / epoch_images)))
        rate = LEARNING_RATES[self.optimizer]
        if self.transfer == "feature_extraction":
            open_fields: dict[str, Any] = {"epochs": HEAD_EPOCHS, "learning_rate": rate}
        elif self.is_two_staged:
            open_fields = {
                "epochs": FINE_EPOCHS,
                "unfreeze": "all" if self.transfer == "full" else "last_block",
                "head_epochs": HEAD_EPOCHS,
                "head_learning_rate": rate,
                "head_schedule": self.schedule,
                "head_patience": self.patience,
            }
        else:
            open_fields = {"epochs": epochs}
        open_fields = {
            "learning_rate": round(rate * self._share, 6),
            **open_fields,
            "fit": fit,
            "loss": find(self.model).loss,
            "threads": threads,
        }
        chosen = {name: value for name, value in open_fields.items() if getattr(self, name) is None}
        return self.changed({**chosen, "size": size, "channels": channels, "device": device})

    def write(self, path: Path) -> None:
        """Write the recipe as TOML, open fields left out."""
        import tomli_w

        fields = {name: value for name, value in self.model_dump().items() if value is not None}
        write_text(path, tomli_w.dumps({"schema_version": SCHEMA_VERSION, **fields}))


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a TOML file; UsageError for unknown or wrong fields, ClassifierError when unreadable."""
    fields = read_toml(path)
    schema = fields.pop("schema_version", SCHEMA_VERSION)
    if not isinstance(schema, int) or schema > SCHEMA_VERSION:
        raise ClassifierError(f"{path} was written by a newer Foveal (schema {schema}); update Foveal.")
    try:
        return parse_recipe(fields)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def parse_recipe(fields: Mapping[str, Any]) -> Recipe:
    """Return the recipe with `fields`; UsageError says which field is wrong and how."""
    try:
        return Recipe.model_validate(dict(fields))
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:
            raise UsageError(f"{first['msg'].removeprefix('Value error, ')}.") from error
        name = ".".join(str(part) for part in first["loc"][: 2 if first["loc"][0] == "model_options" else 1])
        if first["type"] == "extra_forbidden":
            raise UsageError(f'A recipe has no field "{name}".{nearest(name, Recipe.model_fields)}') from error
        reason = first["msg"].removeprefix("Value error, ")
        if name == "unfreeze":
            reason = "it is last_block, all, or a number of layers from 1 on"
        raise UsageError(f"{name} = {first['input']!r} is wrong: {reason[:1].lower()}{reason[1:]}.") from error
