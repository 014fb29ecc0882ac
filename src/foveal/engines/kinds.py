"""The engines there are: what each one is called, which files it is, which packages it needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass

from foveal.errors import MissingPartError, UsageError, nearest

TORCH = "torch"  # the classifier's own network; it has no files of its own
AUTO = "auto"  # the fastest fp32 engine that is stored and installed


@dataclass(frozen=True)
class Kind:
    """One way of storing a network so that something other than Foveal's own code runs it."""

    name: str
    title: str
    files: tuple[str, ...]  # in the classifier's folder
    package: str  # what runs it, as it is imported
    extra: str  # of Foveal, which brings the package
    int8: bool = False
    runs: bool = True  # whether Foveal predicts with it

    @property
    def export_options(self) -> str:
        """What `foveal export CLASSIFIER` needs beside the classifier to make it."""
        return f"--to {self.name.removesuffix('-int8')}{' --int8' if self.int8 else ''}"


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("onnx", "ONNX Runtime", ("model.onnx",), "onnxruntime", "onnx"),
        Kind("onnx-int8", "ONNX Runtime, int8", ("model.int8.onnx",), "onnxruntime", "onnx", int8=True),
        Kind("openvino", "OpenVINO", ("model.xml", "model.bin"), "openvino", "openvino"),
        Kind(
            "openvino-int8", "OpenVINO, int8", ("model.int8.xml", "model.int8.bin"), "openvino", "openvino", int8=True
        ),
        Kind("torch-export", "torch.export", ("model.pt2",), "torch", "", runs=False),
    )
}
RUNNABLE = tuple(kind.name for kind in KINDS.values() if kind.runs)
CHOICES = (AUTO, TORCH, *RUNNABLE)  # of --engine


def find_kind(name: str, *, int8: bool = False) -> Kind:
    """Return the kind that `--to` calls `name`; UsageError for another name, or one that has no int8."""
    names = [kind.name for kind in KINDS.values() if not kind.int8]
    if name not in names:
        raise UsageError(f'Nothing is exported to "{name}", only to {", ".join(names)}.{nearest(name, names)}')
    if int8 and f"{name}-int8" not in KINDS:
        raise UsageError(f"There is no int8 for {name}; use it with onnx or openvino.")
    return KINDS[f"{name}-int8" if int8 else name]


def checked_engine(name: str) -> str:
    """Return `name` if an engine is called so; UsageError lists the names there are."""
    if name not in CHOICES:
        raise UsageError(f'There is no engine "{name}"; choose {", ".join(CHOICES)}.{nearest(name, CHOICES)}')
    return name


def is_installed(kind: Kind) -> bool:
    """Whether what runs `kind` can be imported here; nothing is imported to find out."""
    return _has(kind.package)


def need(extra: str, *packages: str) -> None:
    """Raise MissingPartError, naming the extra, unless all `packages` can be imported."""
    missing = [package for package in packages if not _has(package)]
    if missing:
        raise MissingPartError(f"{' and '.join(missing)} is not installed: pip install 'foveal[{extra}]'")


def _has(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a package that somebody put into sys.modules as None
        return False
