"""What every test may lean on: the real data where they are, and the rule that a required part is not skipped."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import signal
from pathlib import Path
from types import ModuleType

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two workers with two threads each wait for one another

import numpy as np
import pytest
import torch
from PIL import Image

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; tests press Ctrl-C for real
    signal.signal(signal.SIGINT, signal.default_int_handler)

MAY_BE_ABSENT = ("needs real data", "needs a GPU", "needs root")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--require-parts", action="store_true", help="a skipped part fails, unless it is data or hardware")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    report = yield
    if report.skipped and item.config.getoption("--require-parts") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        allowed = MAY_BE_ABSENT if not os.environ.get("CI") else MAY_BE_ABSENT[1:]
        if not any(part in reason for part in allowed):
            report.outcome, report.longrepr = "failed", f"a required part is missing: {reason}"
    return report


def data_folder() -> Path:
    """Where the real data sets lie: $FOVEAL_TEST_DATA, or ../shared/data beside the checkout."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("FOVEAL_TEST_DATA", default))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets; the test is skipped where it is absent."""
    folder = data_folder()
    if not (folder / "README.md").is_file():
        pytest.skip(f"needs real data: {folder} is not there (set FOVEAL_TEST_DATA)")
    return folder


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """A folder of 3 classes × 12 small colour images, each class its own colour, each image different."""
    rng = np.random.default_rng(7)
    root = tmp_path / "fruit"
    for name, colour in {"apple": (200, 30, 30), "lime": (40, 190, 40), "plum": (110, 40, 160)}.items():
        (root / name).mkdir(parents=True)
        for number in range(12):
            pixels = np.clip(rng.normal(colour, 25, size=(20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number:02d}.png")
    return root


def import_oracle(name: str) -> ModuleType:
    """Return torchvision or timm, which tests compare with; skipped where they are not installed.

    torchvision's usual build does not find two operators of its own beside a CPU build of torch: they are declared.
    """
    if importlib.util.find_spec(name) is None or importlib.util.find_spec("torchvision") is None:
        pytest.skip(f"the oracle {name} is not installed (make test-all installs it)")
    for operator in ("torchvision::nms", "torchvision::qnms"):
        with contextlib.suppress(RuntimeError):  # declared already: by us, or by a build that fits
            torch.library.define(operator, "(Tensor x) -> Tensor")
    return importlib.import_module(name)


@pytest.fixture(scope="session")
def torchvision() -> ModuleType:
    """The oracle of most architectures and of published preprocessing."""
    return import_oracle("torchvision")


@pytest.fixture(scope="session")
def timm() -> ModuleType:
    """The oracle of EfficientNet-Lite, and the source of `timm:NAME`."""
    return import_oracle("timm")


@pytest.fixture(scope="session")
def pytorch_grad_cam() -> ModuleType:
    """The oracle of class activation maps."""
    return import_oracle("pytorch_grad_cam")
