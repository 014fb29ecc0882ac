"""Which packages Foveal asks for, which of them are there, and how to get the others; from the installed metadata."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

US = "foveal"
IMPORTED_AS = {"PIL": "pillow", "sklearn": "scikit-learn", "tomli_w": "tomli-w"}  # module → package
REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;\s*(.*))?$")
EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True)
class Requirement:
    """One package that Foveal, or one of its extras, asks for."""

    package: str
    at_least: str  # empty: any version
    extra: str  # empty: Foveal cannot do without
    conditional: bool  # asked for on some machines only

    @property
    def installed(self) -> str | None:
        """The installed version, or None."""
        return installed(self.package)

    @property
    def fault(self) -> str:
        """Why the requirement is not met, or an empty text."""
        found = self.installed
        if found is None:
            return "" if self.conditional else f"{self.package} is not installed"
        if self.at_least and _numbers(found) < _numbers(self.at_least):
            return f"{self.package} {found} is too old, {self.at_least} or newer is needed"
        return ""


@dataclass(frozen=True)
class Extra:
    """An optional part of Foveal."""

    name: str
    requirements: tuple[Requirement, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Why it is not complete, one reason a package."""
        return tuple(fault for one in self.requirements if (fault := one.fault))

    @property
    def command(self) -> str:
        """What to type to get it."""
        return f"pip install '{US}[{self.name}]'"


def installed(package: str) -> str | None:
    """Return the version of `package`, or None when it is not installed. Nothing is imported."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def needed() -> list[Requirement]:
    """Return what Foveal cannot do without."""
    return [one for one in parse(requires(US) or []) if not one.extra]


def extras() -> list[Extra]:
    """Return the optional parts, in the order of pyproject.toml."""
    everything = list(parse(requires(US) or []))
    names = metadata(US).get_all("Provides-Extra") or []
    return [Extra(name, tuple(one for one in everything if one.extra == name)) for name in names]


def how_to_get(package: str) -> str:
    """Return the command that installs `package`: the extra that brings it, or the package itself."""
    brings = [extra for extra in extras() if any(one.package == package for one in extra.requirements)]
    return brings[0].command if brings else f"pip install {package}"


def parse(lines: Sequence[str]) -> Iterator[Requirement]:
    """Yield the requirements of package metadata: ``torch>=2.6``, ``pytest>=8; extra == "test"``."""
    for line in lines:
        found = REQUIREMENT.match(line.strip())
        if found is None:
            continue
        package, bounds, marker = found.group(1), found.group(2), found.group(3) or ""
        extra = EXTRA.search(marker)
        least = re.search(r">=\s*([0-9][0-9.]*)", bounds)
        rest = re.sub(r"\band\b|[()\s]", "", EXTRA.sub("", marker))
        yield Requirement(package, least.group(1) if least else "", extra.group(1) if extra else "", bool(rest))


def _numbers(text: str) -> tuple[int, ...]:
    """Return the release of a version as numbers: ``2.13.0+cpu`` → (2, 13)."""
    release = re.match(r"\d+(\.\d+)*", text)
    numbers = [int(part) for part in release.group().split(".")] if release else [0]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)
