"""The machine as far as it can be asked without torch: system, processor, limits of a container, memory, disks."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

GIB = 1 << 30
UNLIMITED = 1 << 60  # version 1 of control groups writes a number near 2**63 for "no limit"
CPUINFO, MEMINFO, OS_RELEASE = Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/etc/os-release")
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def system() -> str:
    """Return the operating system by the name that people know it by, and its kernel."""
    for line in _lines(OS_RELEASE):
        if line.startswith("PRETTY_NAME="):
            return f"{line.partition('=')[2].strip().strip(chr(34))} ({platform.platform(terse=True)})"
    return platform.platform()


def processor() -> str:
    """Return the name of the processor."""
    models = [line.split(":", 1)[1].strip() for line in _lines(CPUINFO) if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores the machine has."""
    return os.cpu_count() or 1


def usable_cores() -> float:
    """Return how many cores this process may use: the machine's, less what affinity and control group take away."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores()
    limit = _cpu_limit()
    return allowed if limit is None else min(allowed, limit)


def load() -> float | None:
    """Return how many processes wanted to compute over the last minute, or None where that is not known."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def memory_gib() -> float | None:
    """Return the machine's memory."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1)
    except (ValueError, OSError, AttributeError):
        return None


def free_memory_gib() -> float | None:
    """Return the memory that is free for this process, within the limit of its control group."""
    free = [int(line.split()[1]) * 1024 for line in _lines(MEMINFO) if line.startswith("MemAvailable:")]
    limit = memory_limit_gib()
    if not free:
        return limit
    return round(free[0] / GIB, 1) if limit is None else min(round(free[0] / GIB, 1), limit)


def memory_limit_gib() -> float | None:
    """Return the memory limit of the control group, or None where there is none."""
    numbers = _limits("memory", "memory.max", "memory.limit_in_bytes")
    return round(min(numbers) / GIB, 1) if numbers else None


def free_disk_gib(folder: Path) -> float | None:
    """Return the free space where `folder` is, or would be made."""
    for place in (folder, *folder.absolute().parents):
        try:
            return round(shutil.disk_usage(place).free / GIB, 1)
        except OSError:
            continue
    return None


def may_write(folder: Path) -> str:
    """Return why no file can be made in `folder`, or where it would be made; an empty text when one can."""
    place = next((one for one in (folder, *folder.absolute().parents) if one.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=place):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def encodings() -> dict[str, str]:
    """Return the encodings of text files, file names and standard output."""
    return {
        "text files": locale.getencoding(),
        "file names": sys.getfilesystemencoding(),
        "output": str(getattr(sys.stdout, "encoding", None) or "none"),
    }


def private(text: str) -> str:
    """Return `text` with the user's home folder as ``~``, for reports that others read."""
    home = str(Path.home())
    return text.replace(home, "~") if len(home) > 1 else text


def _cpu_limit() -> float | None:
    """Return how many cores the control group allows, or None where it sets no limit."""
    found = []
    for folder in _cgroup_folders("cpu"):
        two = _text(folder / "cpu.max").split()  # "200000 100000", or "max 100000"
        one = [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
        for quota, period in (pair for pair in (two, one) if len(pair) == 2):
            if quota.isdecimal() and period.isdecimal() and int(period):
                found.append(int(quota) / int(period))
    return min(found) if found else None


def _limits(controller: str, *names: str) -> list[int]:
    texts = [_text(folder / name).strip() for folder in _cgroup_folders(controller) for name in names]
    return [int(text) for text in texts if text.isdecimal() and int(text) < UNLIMITED]


def _cgroup_folders(controller: str) -> list[Path]:
    """Return the folders of this process's control group and of all above it, in both versions of control groups."""
    found = []
    for line in _lines(OWN_CGROUP) or ["0::/"]:
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" or controller in controllers.split(","):
            root = CGROUPS if number == "0" else CGROUPS / controller
            inside = Path(path.lstrip("/"))
            found += [root, *(root / one for one in (inside, *inside.parents))]
    return list(dict.fromkeys(found))


def _lines(file: Path) -> list[str]:
    return _text(file).splitlines()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
