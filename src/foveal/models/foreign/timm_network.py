"""``timm:NAME``: a network of timm (PyTorch Image Models), its weights drawn anew; timm downloads nothing here."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from foveal.errors import MissingPartError, UsageError, nearest
from foveal.models.foreign.entry import TIMM, Foreign

if TYPE_CHECKING:
    from torch import nn

    from foveal.models.network import Network

NOT_HERE = (  # what `timm.create_model` takes, but would fetch or unpickle files, or make no classifier
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir", "features_only"),
    *("scriptable", "exportable", "no_jit", "num_classes", "in_chans", "img_size", "model_name"),
)


def timm_entry(name: str) -> TimmNetwork:
    """Return the entry of ``timm:NAME``; UsageError names the nearest that timm has."""
    timm, short = import_timm(), name.removeprefix(TIMM)
    try:
        found = timm.is_model(short) and timm.models.get_pretrained_cfg(short)
    except RuntimeError as error:  # a tag that it has not
        raise UsageError(f'timm has no "{short}": {str(error).rstrip(".")}.') from error
    if not found:
        raise UsageError(f'timm has no network "{short}".{nearest(short, timm.list_models())}')
    return TimmNetwork(
        name, "", "timm", f"{short} of timm", 0, "", tuple(found.input_size), found.num_classes, 0, 0, 0, 0,
        scales=True,
    )  # fmt: skip


@dataclass(frozen=True)
class TimmNetwork(Foreign):
    """A network of timm. Its options are those of timm, such as ``drop_rate``; each network has its own."""

    def build(self) -> Callable[..., Network]:
        """Return a function that makes the network."""
        return self._built

    def options(self) -> dict[str, Any]:
        """Return nothing: timm does not say which options a network has before it is made."""
        return {}

    def takes(self, option: str) -> bool:
        """Whether `option` may be handed to timm; UsageError for those that fetch or read files."""
        if option in NOT_HERE:
            raise UsageError(f"{self.name}: timm's option {option} is not offered here; weights are drawn anew.")
        return True

    def _built(self, *, classes: int, channels: int, height: int, width: int, **options: Any) -> Network:
        import torch

        from foveal.models.foreign.guest import adopt, reason

        timm, short = import_timm(), self.name.removeprefix(TIMM)
        if timm.models.get_pretrained_cfg(short).fixed_input_size:
            options = {**options, "img_size": (height, width)}
        with torch.device("cpu"):  # also where only a shape is asked for: timm computes as it builds
            try:
                module = timm.create_model(short, pretrained=False, num_classes=classes, in_chans=channels, **options)
            except (TypeError, ValueError, AssertionError, KeyError) as error:
                raise UsageError(f"timm cannot make {short} so: {reason(error)}.") from error
            return adopt(module, self.name, classes=classes, shape=(channels, height, width), stages=_stages(module))


def _stages(module: nn.Module) -> dict[str, str]:
    """Return the places from which timm takes features, each its own name."""
    modules = dict(module.named_modules())
    features: Any = getattr(module, "feature_info", None) or []
    return {one["module"]: one["module"] for one in features if one["module"] in modules}


def import_timm() -> ModuleType:
    """Return timm; MissingPartError says what is missing, or why it cannot be imported."""
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise MissingPartError(
            f"Networks of timm need {error.name}, which is not installed: pip install 'foveal[timm]'"
        ) from error
    except Exception as error:
        import torch

        said = next(iter(str(error).splitlines()), "").rstrip(".")
        raise MissingPartError(
            f"timm is installed but cannot be imported ({type(error).__name__}: {said}); it needs the build of "
            f"torchvision that belongs to torch {torch.__version__}."
        ) from error
