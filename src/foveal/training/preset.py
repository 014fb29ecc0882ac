"""Presets: recipes by name, each a file beside this one that states its command, what to expect, and the spread."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from foveal.errors import UsageError, nearest
from foveal.models.catalog import find

RATES = ("learning_rate", "momentum", "weight_decay")  # tuned for one optimiser


@dataclass(frozen=True)
class Preset:
    """A recipe by name. `fields` are the defaults that it gives; `text` is its file."""

    name: str
    about: str
    command: str
    expected: str
    spread: str
    hardware: str
    seeds: int  # with how many seeds what is expected was measured
    fields: Mapping[str, Any]
    text: str

    def fields_with(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the preset's fields changed by `changes`.

        What was tuned for its network, its optimiser or its loss goes with these only.
        """
        fields = dict(self.fields)
        model = _plain(changes.get("model", fields["model"]))
        if model != _plain(fields["model"]):
            fields.pop("model_options", None)
        if changes.get("optimizer", fields.get("optimizer")) != fields.get("optimizer"):
            for name in RATES:
                fields.pop(name, None)
        if (changes.get("loss") or find(model).loss) != "cross_entropy":
            fields.pop("label_smoothing", None)
        options = {**fields.get("model_options", {}), **changes.get("model_options", {})}
        return {**fields, **changes, "preset": self.name, "model_options": options}


@cache
def presets() -> Mapping[str, Preset]:
    """Return all presets by name, in the order of their names."""
    folder = files("foveal.training") / "presets"
    found = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {file.name.removesuffix(".toml"): _read(file) for file in found}


def find_preset(name: str) -> Preset:
    """Return the preset called `name`; ``-`` equals ``_``, case does not matter. UsageError names the nearest."""
    preset = presets().get(_plain(name))
    if preset is None:
        raise UsageError(f'There is no preset "{name}".{nearest(name, presets())} `foveal presets` lists them all.')
    return preset


def _read(file: Traversable) -> Preset:
    text = file.read_text("utf-8")
    tables = tomllib.loads(text)
    return Preset(name=file.name.removesuffix(".toml"), fields=tables["recipe"], text=text, **tables["preset"])


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")
