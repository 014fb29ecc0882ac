"""Doctor: what Foveal finds of itself, its packages and the machine, and what is wrong with them.

Nothing heavy is imported here: what has to be imported to be known is asked of a process of its own
(`torch_probe`), so that a broken installation is reported and not suffered.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from foveal.errors import FovealError
from foveal.run import SCHEMA_VERSION
from foveal.workflows import machine, packages

PROBE = "foveal.workflows.torch_probe"
PROBE_TIMEOUT_S = 180  # importing torch from a cold network disk takes its time
RUNS = Path("runs")
LITTLE_DISK_GIB, LITTLE_MEMORY_GIB = 2.0, 2.0
ENGINES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
Value = str | float | int | None


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong, or worth knowing, and what to do."""

    broken: bool  # False: a hint
    what: str
    do: str


@dataclass(frozen=True)
class Checkup:
    """What the doctor found."""

    sections: dict[str, dict[str, Value]]  # title → fact → value
    troubles: tuple[Trouble, ...]

    @property
    def broken(self) -> bool:
        """Whether something does not work."""
        return any(one.broken for one in self.troubles)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of `foveal doctor --json`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ok": not self.broken,
            "sections": self.sections,
            "troubles": [asdict(one) for one in self.troubles],
        }


def examine() -> Checkup:
    """Return what is found of Foveal, its packages and the machine. Names no user and no host; home is ``~``."""
    torch, imports = _probe("torch"), _probe("packages")
    sections = {
        "Foveal": _foveal(),
        "Packages": _packages(torch, imports),
        "Machine": _machine(torch),
        "Threads": _threads(torch),
        "Devices": _devices(torch),
        "Engines": _engines(torch, imports),
        "Optional parts": _optional(),
        "Disk and text": _disk(),
        "Speed": _speed(torch),
    }
    troubles = [*_broken(torch, imports), *_hints(torch, imports)]
    return Checkup(sections, tuple(troubles))


def _probe(what: str) -> dict[str, Any]:
    """Return what the probe found, or ``{"fault": …}`` when it could not."""
    command = [sys.executable, "-m", PROBE, what]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"fault": f"it did not answer within {PROBE_TIMEOUT_S} s"}
    except OSError as error:
        return {"fault": f"no process could be started: {error.strerror or error}"}
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"fault": machine.private(_death(done))}
    if "fault" in found:
        found["fault"] = machine.private(str(found["fault"]))
    return found


def _death(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        try:
            name = signal.Signals(-done.returncode).name
        except ValueError:
            name = f"signal {-done.returncode}"
        why = " (this build uses instructions that the processor does not have)" if name == "SIGILL" else ""
        return f"the process was ended by {name}{why}"
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"the process ended with {done.returncode} and said nothing"


# --- sections ---


def _foveal() -> dict[str, Value]:
    return {
        "version": packages.installed("foveal") or "not installed as a package",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "interpreter": machine.private(sys.executable or "unknown"),
    }


def _packages(torch: dict[str, Any], imports: dict[str, Any]) -> dict[str, Value]:
    versions: dict[str, Value] = {one.package: one.installed or "missing" for one in packages.needed()}
    pillow = imports.get("pillow") or {}
    if pillow:
        turbo = (
            f"libjpeg-turbo {pillow['libjpeg_turbo']}"
            if pillow["libjpeg_turbo"]
            else f"libjpeg {pillow['jpg'] or 'absent'}"
        )
        others = ", ".join(f"{name} {pillow[name]}" for name in ("zlib", "webp") if pillow[name])
        versions["pillow decodes with"] = f"{turbo}, {others}" if others else turbo
    if "version" in torch:
        versions["torch"] = str(torch["version"])
    return versions


def _machine(torch: dict[str, Any]) -> dict[str, Value]:
    usable = machine.usable_cores()
    return {
        "system": machine.system(),
        "processor": machine.processor(),
        "architecture": platform.machine(),
        "instructions": torch.get("instructions"),
        "cores": machine.cores(),
        "usable cores": round(usable, 2) if usable != int(usable) else int(usable),
        "load (1 min)": machine.load(),
        "memory GiB": machine.memory_gib(),
        "memory limit GiB": machine.memory_limit_gib(),
        "memory free GiB": machine.free_memory_gib(),
    }


def _threads(torch: dict[str, Any]) -> dict[str, Value]:
    return {
        "torch": torch.get("threads"),
        "torch between operations": torch.get("interop_threads"),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
        "MKL_NUM_THREADS": os.environ.get("MKL_NUM_THREADS", "not set"),
    }


def _devices(torch: dict[str, Any]) -> dict[str, Value]:
    if "fault" in torch:
        return {"unknown": "torch cannot be asked"}
    found: dict[str, Value] = {"cpu": "yes; mixed precision is off there"}
    for index, one in enumerate(torch["cuda"]):
        types = "float16, bfloat16" if one["bfloat16"] else "float16"
        size = f"{one['memory_gib']} GiB, compute capability {one['capability']}"
        found[f"cuda:{index}"] = f"{one['name']}, {size}; mixed precision in {types}"
    if not torch["cuda"]:
        build = f"built for CUDA {torch['cuda_build']}" if torch["cuda_build"] else "built without CUDA"
        found["cuda"] = f"none (this torch is {build})"
    found["mps"] = "yes" if torch["mps"] else "none"
    return found


def _engines(torch: dict[str, Any], imports: dict[str, Any]) -> dict[str, Value]:
    found: dict[str, Value] = {"torch": "fails" if "fault" in torch else f"{torch['version']}; trains and predicts"}
    for package, name in ENGINES.items():
        one = (imports.get("engines") or {}).get(package)
        if one is None:
            found[name] = f"not installed; {packages.how_to_get(package)}"
        else:
            found[name] = (
                f"fails: {one['fault']}" if "fault" in one else f"{one['version']} on {', '.join(one['where'])}"
            )
    return found


def _optional() -> dict[str, Value]:
    found: dict[str, Value] = {}
    for extra in packages.extras():
        found[extra.name] = f"{'; '.join(extra.missing)}: {extra.command}" if extra.missing else "complete"
    return found


def _disk() -> dict[str, Value]:
    refused, cache = machine.may_write(RUNS), _cache()
    return {
        "free here GiB": machine.free_disk_gib(Path()),
        "runs/ can be written": f"no: {refused}" if refused else "yes",
        "cache": machine.private(str(cache)) if cache else None,
        "free in the cache GiB": machine.free_disk_gib(cache) if cache else None,
        **{f"encoding of {name}": value for name, value in machine.encodings().items()},
    }


def _speed(torch: dict[str, Any]) -> dict[str, Value]:
    if "fault" in torch:
        return {"not measured": "torch does not work"}
    return {
        "LeNet-5, one step of 64 images, ms": torch["lenet5_ms"],
        "matrix product float32, GFLOP/s": torch["gflops"],
    }


def _cache() -> Path | None:
    try:
        from foveal.download import cache_folder

        return cache_folder()
    except (ImportError, FovealError, OSError, RuntimeError):  # what it needs is missing too
        return None


# --- what is wrong ---


def _broken(torch: dict[str, Any], imports: dict[str, Any]) -> Iterator[Trouble]:
    faults = [fault for one in packages.needed() if (fault := one.fault)]
    if faults:
        yield Trouble(
            True, f"Packages that Foveal cannot do without: {'; '.join(faults)}.", "pip install --upgrade foveal"
        )
    if "fault" in torch:
        yield Trouble(
            True,
            f"torch does not work: {torch['fault']}.",
            "Install it anew: pip install --force-reinstall torch (the CPU build: add PyTorch's CPU index).",
        )
    elif not torch["finite"]:
        yield Trouble(
            True, "A training step of LeNet-5 gave no finite loss.", "Install torch anew; report this if it stays."
        )
    if "fault" in imports:
        yield Trouble(
            True, f"The packages cannot be imported: {imports['fault']}.", "Install Foveal in a fresh environment."
        )
    for name, why in (imports.get("faults") or {}).items():
        package = packages.IMPORTED_AS.get(name, name)
        yield Trouble(
            True, f"{name} cannot be imported: {machine.private(why)}.", f"pip install --force-reinstall {package}"
        )
    pillow = imports.get("pillow") or {}
    if pillow and not pillow["jpg"]:
        yield Trouble(True, "This Pillow cannot decode JPEG.", "pip install --force-reinstall pillow")
    refused = machine.may_write(RUNS)
    if refused:
        yield Trouble(
            True, f"No run can be written to runs/ here: {refused}.", "Work in another folder, or give --out."
        )


def _hints(torch: dict[str, Any], imports: dict[str, Any]) -> Iterator[Trouble]:
    yield from _about_threads(torch)
    if "cuda" in torch and not torch["cuda"]:
        if torch["cuda_build"]:
            yield Trouble(
                False,
                f"torch is built for CUDA {torch['cuda_build']}, but finds no GPU, so it computes on the CPU.",
                "With a GPU, update its driver (nvidia-smi shows it); without, the CPU build of torch is smaller.",
            )
        elif Path("/proc/driver/nvidia/version").exists():
            yield Trouble(
                False,
                "There is an NVIDIA driver, but this torch is built without CUDA.",
                "Install a CUDA build of torch to train on the GPU.",
            )
    pillow = imports.get("pillow") or {}
    if pillow and pillow["jpg"] and not pillow["libjpeg_turbo"]:
        yield Trouble(
            False, "Pillow decodes JPEG without libjpeg-turbo, which is slower.", "pip install --force-reinstall pillow"
        )
    for name, one in (imports.get("engines") or {}).items():
        if "fault" in one:
            yield Trouble(
                False,
                f"{ENGINES[name]} is installed but fails: {one['fault']}.",
                f"pip install --force-reinstall {name}",
            )
    disk, memory, load = machine.free_disk_gib(Path()), machine.free_memory_gib(), machine.load()
    if disk is not None and disk < LITTLE_DISK_GIB:
        yield Trouble(False, f"Only {disk} GiB of disk are free here.", "Free some space before a long training.")
    if memory is not None and memory < LITTLE_MEMORY_GIB:
        yield Trouble(False, f"Only {memory} GiB of memory are free.", "Close other programs, or lower --memory-gib.")
    if load is not None and load > machine.usable_cores() + 0.5:
        yield Trouble(
            False,
            f"Other programs keep the processor busy (load {load}), so the speeds above are too low.",
            "Look again when they are done.",
        )
    odd = [
        f"{name} {one}"
        for name, one in machine.encodings().items()
        if one.lower().replace("-", "") not in ("utf8", "none")
    ]
    if odd:
        yield Trouble(False, f"Text is not UTF-8 here ({', '.join(odd)}).", "Set PYTHONUTF8=1, or a UTF-8 locale.")


def _about_threads(torch: dict[str, Any]) -> Iterator[Trouble]:
    threads, usable = torch.get("threads"), machine.usable_cores()
    if threads is None:
        return
    whole = max(1, int(usable))
    if threads > usable:
        yield Trouble(
            False,
            f"torch would use {threads} threads, but this process may use {usable:g} cores; they wait for each other.",
            f"Give --threads {whole}, or set OMP_NUM_THREADS={whole}.",
        )
    elif threads < whole and "OMP_NUM_THREADS" in os.environ:
        yield Trouble(
            False,
            f"OMP_NUM_THREADS limits torch to {threads} of {whole} cores.",
            f"To use all of them, unset it or give --threads {whole}.",
        )
