"""What every test may lean on: the real data where they are, and the rule that a required part is not skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
