"""A Keras 3 model on the torch backend as a network like ours.

Keras's layers are torch modules there and its variables torch parameters, but it asks for other things:

- images are (B, H, W, C), where ours are (B, C, H, W), unless the model was made for ``channels_first``;
- ``training`` is an argument of the call; ours is the mode of the module;
- a model usually ends in a softmax, and Foveal's losses take logits (Keras's own divide the logarithm of the
  probabilities; softmax of a softmax would hardly learn). The last activation is left out of the copy;
- a variable stands in several places of `state_dict` under Keras's own running numbers; here each stands once,
  numbered in the order of ``model.variables``, so that the same model made anew has the same names. Moving means
  and the state of Dropout's random generator are among them.
"""

from __future__ import annotations

import re
import sys
from typing import Any

from torch import Tensor, nn

from foveal.errors import UsageError
from foveal.models.network import Network

NO_LOGITS = ("sigmoid", "hard_sigmoid", "sparsemax", "log_softmax")


class KerasNetwork(Network):
    """A copy of the Keras model `model`, which stays as it was, for images of `shape` (C, H, W)."""

    def __init__(self, model: Any, name: str, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.stages = {}
        self._called = name
        self._channels_last = _channels_last(model, name, shape)
        self._hold(_with_logits(_copied(model, name), name))

    def _hold(self, model: Any) -> None:
        """Take `model`, and its variables as parameters."""
        self._held = (model,)  # in a tuple, so that torch does not see its parameters twice
        self.variables = nn.ParameterDict()
        for number, variable in enumerate(model.variables):
            layer, _, kind = variable.path.rpartition("/")
            plain = re.sub(r"_\d+$", "", layer.rpartition("/")[2])  # Keras numbers what it makes
            self.variables[f"{number:03d}/{plain}/{kind}".replace(".", "_")] = variable.value

    @property
    def keras_model(self) -> Any:
        """The Keras model that holds the weights; it answers with logits."""
        return self._held[0]

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, classes)
        """Return the logits of `x`; layers such as Dropout follow the mode of this module."""
        import keras

        if x.is_meta:
            raise RuntimeError("a Keras model does not run without data")  # its weights would lose their names
        if self._channels_last:
            x = x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
        with keras.device(str(x.device)):
            output: Tensor = self._held[0](x, training=self.training)
        return output

    def __deepcopy__(self, memo: dict[int, Any]) -> KerasNetwork:
        model = self._held[0]
        twin: KerasNetwork = type(self).__new__(type(self))
        memo[id(self)] = twin
        nn.Module.__init__(twin)
        twin.stages, twin._called, twin._channels_last = {}, self._called, self._channels_last
        twin._hold(_copied(model, self._called))
        twin.to(next(self.parameters()).device)
        twin.training = self.training
        return twin

    def __reduce__(self) -> Any:
        model = self._held[0]
        shape = model.input_shape[1:]
        shape = (shape[2], *shape[:2]) if self._channels_last else shape
        return (_unpickled, (model, [one.value.detach().cpu() for one in model.variables], self._called, shape))


def _unpickled(model: Any, values: list[Tensor], name: str, shape: tuple[int, int, int]) -> KerasNetwork:
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
    return KerasNetwork(model, name, shape).eval()


def is_keras(model: object) -> bool:
    """Whether `model` is a Keras model, of whatever backend. Keras is not imported for that."""
    keras = sys.modules.get("keras")
    return keras is not None and hasattr(keras, "Model") and isinstance(model, keras.Model)


def refuse_other_backend(model: object) -> None:
    """Raise UsageError for a Keras model that does not compute with torch."""
    if is_keras(model) and not isinstance(model, nn.Module):
        config: Any = getattr(sys.modules["keras"], "config", None)
        backend = config.backend() if hasattr(config, "backend") else "tensorflow"
        raise UsageError(
            f"The Keras model {getattr(model, 'name', '')} computes with {backend}; Foveal trains with torch: set the "
            f"environment variable KERAS_BACKEND=torch before keras is imported."
        )


def native_input(model: Any) -> tuple[int, int, int] | None:
    """Return (C, H, W) of the images that `model` was made for; None where it takes any or has not been built."""
    shape = getattr(model, "input_shape", None) if model.built else None
    if not isinstance(shape, tuple) or len(shape) != 4 or None in shape[1:]:
        return None
    first = shape[1] in (1, 3) and shape[3] not in (1, 3)
    return (shape[1], shape[2], shape[3]) if first else (shape[3], shape[1], shape[2])


def _channels_last(model: Any, name: str, shape: tuple[int, int, int]) -> bool:
    """Whether `model` takes (B, H, W, C); UsageError when it takes no images of `shape` (C, H, W) at all."""
    if not model.built or not hasattr(model, "layers") or not hasattr(model, "outputs"):
        raise UsageError(
            f"{name} is no Sequential or functional Keras model with an Input, so that its last softmax cannot be "
            f"found and taken off; make it one, or wrap it in a torch.nn.Module that returns logits."
        )
    wanted = model.input_shape
    if not isinstance(wanted, tuple) or len(wanted) != 4 or len(model.outputs) != 1:
        raise UsageError(f"{name} must take one image (H, W, C) and give one answer, not {wanted}.")
    channels, height, width = shape
    for last, sizes in ((True, (height, width, channels)), (False, shape)):
        if all(one in (None, size) for one, size in zip(wanted[1:], sizes, strict=True)):
            return last
    said = "×".join("any" if one is None else str(one) for one in wanted[1:])
    raise UsageError(
        f"{name} takes images of {said} (H×W×C), not of {height}×{width}×{channels}; size and channels say otherwise."
    )


def _copied(model: Any, name: str) -> Any:
    """Return a model like `model` with the same values in all its variables; UsageError when it cannot be made anew."""
    import keras

    try:
        copy = keras.models.clone_model(model)
        for mine, given in zip(copy.variables, model.variables, strict=True):
            mine.assign(given.value.detach().to(mine.value.device))
        for mine, given in zip(copy._flatten_layers(), model._flatten_layers(), strict=True):
            mine.trainable = given.trainable
    except (TypeError, ValueError, NotImplementedError) as error:
        said = next(iter(str(error).splitlines()), "").rstrip(".")
        raise UsageError(f"The Keras model {name} cannot be copied: {said}.") from error
    return copy


def _with_logits(model: Any, name: str) -> Any:
    """Return `model`, whose last softmax, if there is one, is replaced by nothing."""
    import keras

    last = model.outputs[0]._keras_history.operation
    while isinstance(last, keras.Model):
        last = last.outputs[0]._keras_history.operation
    if isinstance(last, keras.layers.Softmax) and last is model.layers[-1]:
        inputs = model.inputs if len(model.inputs) > 1 else model.inputs[0]
        return keras.Model(inputs, last.input)
    ends_in = getattr(getattr(last, "activation", None), "__name__", "")
    if ends_in == "softmax":
        last.activation = keras.activations.linear
    elif ends_in in NO_LOGITS:
        raise UsageError(f"{name} ends in {ends_in}, whose values are no logits; end it without an activation.")
    return model
