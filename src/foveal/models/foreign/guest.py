"""What somebody else's module becomes: a network like ours, which answers with logits or is refused."""

from __future__ import annotations

import sys
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.foreign.keras_network import KerasNetwork, is_keras
from foveal.models.network import Heads, Network

PROBE = 2  # images
LIBRARIES = ("torch", "keras", "timm", "foveal")


class Guest(Network):
    """Somebody else's module, which stays as it is: `module`."""

    def __init__(self, module: nn.Module, name: str, stages: Mapping[str, str]) -> None:
        super().__init__()
        self.module = module
        self.called = name
        self.stages = dict(stages)
        self.register_state_dict_post_hook(_apart)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, classes)
        """Return what the module answers; UsageError where that is no tensor, as from a module with more heads."""
        output = self.module(x)
        if not isinstance(output, Tensor):
            raise UsageError(f"{self.called} answers with {_kind(output)}, not with a tensor of logits (B, classes).")
        return output


def adopt(
    module: object, name: str, *, classes: int, shape: tuple[int, int, int], stages: Mapping[str, str] | None = None
) -> Network:
    """Return `module` as a network for images of `shape` (C, H, W), after a forward pass in either mode.

    `stages` maps names to submodules of `module`. Raises UsageError when `module` is none, has nothing to learn,
    cannot take the images, or does not answer with logits (B, classes).
    """
    if isinstance(module, type) or not isinstance(module, nn.Module):
        raise UsageError(f"{name} gives {_kind(module)}, not a network (a torch.nn.Module).")
    network: Network
    if is_keras(module):
        network = KerasNetwork(module, name, shape)
    elif isinstance(module, Network):
        network = module
    else:
        network = Guest(module, name, {stage: f"module.{place}" for stage, place in (stages or {}).items()})
    _probe(network, name, classes, shape)
    return network


def _probe(network: Network, name: str, classes: int, shape: tuple[int, int, int]) -> None:
    """Pass a few images through `network` in either mode; it is left as it was."""
    parameters = list(network.parameters())
    if not any(one.requires_grad for one in parameters):
        raise UsageError(f"{name} has no parameter that could be trained.")
    images = "×".join(map(str, shape))
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            always_the_same = torch.Generator().manual_seed(0)  # so that what was trained is not refused when loaded
            x = torch.randn(PROBE, *shape, generator=always_the_same).to(parameters[0].device)
            answer = _asked(network.eval(), x, name, images)  # first, since it makes what is lazy
            alone = _asked(network, x[:1], name, images)
            kept = {key: value.clone() for key, value in network.state_dict().items()}
            answer_in_training = _asked(network.train(), x, name, images)
            network.load_state_dict(kept)  # running means, say
    finally:
        for module, training in modes.items():
            module.training = training
    for output in (answer, answer_in_training):
        if isinstance(output, Heads):
            output = output.logits  # noqa: PLW2901
        if not isinstance(output, Tensor):
            raise UsageError(f"{name} answers with {_kind(output)}, not with a tensor of logits (B, classes).")
        if tuple(output.shape) != (PROBE, classes):
            raise UsageError(
                f"{name} answers {PROBE} images of {images} with values of shape {tuple(output.shape)}, not with "
                f"logits of shape ({PROBE}, {classes}), one a class."
            )
        if output.isnan().any():
            raise UsageError(f"{name} answers with values that are no numbers (NaN), so that it cannot be trained.")
        if output is answer and not _alike(output[:1], alone):
            raise UsageError(
                f"{name} answers an image otherwise when it is alone than beside another, or otherwise each time: in "
                f"eval mode an answer may depend on its image only."
            )
        if not output.is_floating_point():
            raise UsageError(f"{name} answers with numbers of type {output.dtype}, not with logits.")
        if classes > 1 and (output >= 0).all() and torch.allclose(output.sum(1), torch.ones(PROBE).to(output)):
            raise UsageError(
                f"{name} answers with probabilities, not with logits: it ends in a softmax, and the loss takes another "
                f"one, so that it would hardly learn; leave the last softmax out."
            )


def _alike(one: Tensor, other: object) -> bool:
    """Whether two answers to the same image are equal but for rounding."""
    if not isinstance(other, Tensor) or one.shape != other.shape:
        return False
    return torch.allclose(one.double(), other.double(), rtol=1e-3, atol=1e-4 * max(1.0, float(one.abs().max())))


def _asked(network: Network, x: Tensor, name: str, images: str) -> object:
    try:
        return network(x)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{name} cannot take images of {images}: {reason(error)}.") from error


def _apart(_module: nn.Module, state: dict[str, Any], _prefix: str, _metadata: object) -> None:
    """Give weights that several layers share a storage a name, which is how safetensors stores them."""
    seen: set[tuple[int, int]] = set()
    for name, tensor in state.items():
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset())
        if tensor.numel() and place in seen:
            state[name] = tensor.clone()
        seen.add(place)


def reason(error: BaseException) -> str:
    """Return one line that says what `error` says, and where in the user's own code it came from."""
    first = next((line for line in str(error).splitlines() if line.strip()), "").strip().rstrip(".:")
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({Path(error.filename or '?').name}, line {error.lineno})"
    own = [one for one in traceback.extract_tb(error.__traceback__) if not _is_library(one.filename)]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}{first and f': {first}'}{where}"


def _is_library(file: str) -> bool:
    """Whether the code in `file` is Python's, torch's, or of a library that stands between them and the user's."""
    homes = [Path(module.__file__ or "").parent for name in LIBRARIES if (module := sys.modules.get(name))]
    standard = Path(sysconfig.get_path("stdlib"))
    path = Path(file)
    return (
        file.startswith("<")
        or any(path.is_relative_to(home) for home in homes)
        or (path.is_relative_to(standard) and "site-packages" not in path.parts)
    )


def _kind(value: object) -> str:
    """Return what `value` is, in words: ``None``, ``the class Net``, ``a tuple``."""
    if value is None:
        return "None"
    name = (value if isinstance(value, type) else type(value)).__name__
    return (
        f"the class {name} itself" if isinstance(value, type) else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
    )
