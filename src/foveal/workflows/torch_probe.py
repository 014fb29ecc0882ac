"""What can only be known by importing: run as a process of its own, so that nothing that breaks here breaks the doctor.

``python -m foveal.workflows.torch_probe torch`` and ``… packages`` print one JSON object.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import statistics
import sys
import time
from typing import Any

IMPORTED = ("numpy", "PIL", "scipy", "sklearn", "safetensors", "pydantic", "jinja2", "tomli_w")
BATCH = 64
STEPS = 5
MATRIX_SIDE = 1024
MULTIPLYING_S = 0.4


def main() -> None:
    """Print what the probe named on the command line finds."""
    found = about_torch() if sys.argv[1:] == ["torch"] else about_packages()
    sys.stdout.write(json.dumps(found) + "\n")


def about_packages() -> dict[str, Any]:
    """Return which packages cannot be imported and why, and what Pillow decodes JPEG with."""
    faults = {}
    for name in IMPORTED:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - a broken package may raise anything
            faults[name] = _reason(error)
    return {"faults": faults, "pillow": _pillow() if "PIL" not in faults else {}, "engines": _engines()}


def about_torch() -> dict[str, Any]:
    """Return the version, threads and devices of torch, and how fast it computes."""
    import torch

    return {
        "version": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "onednn": bool(torch.backends.mkldnn.is_available()),  # type: ignore[no-untyped-call]
        "openmp": bool(torch.backends.openmp.is_available()),  # type: ignore[no-untyped-call]
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cuda_build": torch.version.cuda,
        "cuda": [_cuda(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else [],
        "mps": bool(torch.backends.mps.is_available()),
        **_smoke(),
    }


def _cuda(index: int) -> dict[str, Any]:
    import torch

    one = torch.cuda.get_device_properties(index)
    with torch.cuda.device(index):
        bfloat16 = bool(torch.cuda.is_bf16_supported())
    return {
        "name": one.name,
        "memory_gib": round(one.total_memory / (1 << 30), 1),
        "capability": f"{one.major}.{one.minor}",
        "bfloat16": bfloat16,
    }


def _smoke() -> dict[str, Any]:
    """Build LeNet-5, take a few training steps with random images, and multiply two matrices."""
    import torch

    from foveal.models.catalog import create_model

    torch.manual_seed(0)
    network = create_model("lenet5")
    images, labels = torch.randn(BATCH, 1, 32, 32), torch.randint(0, 10, (BATCH,))
    times, loss = [], math.nan
    for _ in range(STEPS + 1):  # the first one also allocates
        began = time.perf_counter()
        network.zero_grad()
        value = torch.nn.functional.cross_entropy(network(images), labels)
        value.backward()  # type: ignore[no-untyped-call]
        times.append(time.perf_counter() - began)
        loss = float(value.detach())
    return {
        "lenet5_ms": round(1000 * statistics.median(times[1:]), 2),
        "finite": math.isfinite(loss),
        "gflops": _gflops(),
    }


def _gflops() -> float:
    """Return the best of a few products of two square float32 matrices."""
    import torch

    left, right = torch.randn(MATRIX_SIDE, MATRIX_SIDE), torch.randn(MATRIX_SIDE, MATRIX_SIDE)
    torch.mm(left, right)
    best, began = math.inf, time.perf_counter()
    while time.perf_counter() - began < MULTIPLYING_S:
        started = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - started)
    return round(2 * MATRIX_SIDE**3 / best / 1e9, 1)


def _pillow() -> dict[str, str]:
    from PIL import features

    libraries = {name: features.version(name) for name in ("jpg", "zlib", "webp", "libtiff", "jpg_2000")}
    turbo = features.version_feature("libjpeg_turbo") if features.check_feature("libjpeg_turbo") else None
    return {**{name: found or "" for name, found in libraries.items()}, "libjpeg_turbo": turbo or ""}


def _engines() -> dict[str, dict[str, Any]]:
    """Return, for each engine that is installed, its version and where it can compute; the fault where it fails."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("onnxruntime", "openvino"):
        try:
            module = importlib.import_module(name)
            where = module.get_available_providers() if name == "onnxruntime" else module.Core().available_devices
            found[name] = {"version": str(module.__version__), "where": list(where)}
        except ModuleNotFoundError as error:
            if error.name != name:
                found[name] = {"fault": _reason(error)}
        except Exception as error:  # noqa: BLE001 - a broken package may raise anything
            found[name] = {"fault": _reason(error)}
    return found


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # noqa: BLE001 - the doctor wants the reason, not the traceback
        sys.stdout.write(json.dumps({"fault": _reason(error)}) + "\n")
        sys.stdout.flush()
        os._exit(1)  # what is half imported may not end well by itself
