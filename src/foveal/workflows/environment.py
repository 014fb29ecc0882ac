"""On what a run was made: versions and the machine, for environment.json and the report."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from foveal.classifier.device import describe_device
from foveal.run import SCHEMA_VERSION
from foveal.workflows.machine import memory_gib, processor


def describe_environment(device: torch.device, threads: int) -> dict[str, Any]:
    """Return what environment.json holds. No user, host or path is named."""
    return {
        "schema_version": SCHEMA_VERSION,
        "foveal": version("foveal"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": memory_gib(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "pillow": version("pillow"),
        "device": describe_device(device),
        "threads": threads,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
