"""What an archive may list: plain files under plain relative names, each once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from foveal.data.sources.tree import is_passed_over
from foveal.errors import DataError, listed

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz")
NOT_READ = (".7z", ".rar", ".tar.zst", ".tzst", ".tar.lz4", ".tar.lzma", ".tar.z")
UNSAFE = re.compile(r"^/|^[A-Za-z]:|(^|/)\.\.(/|$)|[\\\x00-\x1f\x7f]")
MOST_SHOWN = 5


class Listed(NamedTuple):
    """One entry of an archive's table of contents."""

    name: str  # as written
    kind: str  # "file", "folder", or what else it is


def plain_files(path: Path, entries: Sequence[Listed]) -> tuple[dict[str, int], list[str]]:
    """Return tidied name → position in `entries` of every file that is not hidden, and the names of the folders.

    Nothing is ever unpacked to a name, so none could do harm; but an archive with such names is
    broken or hostile, and what it means is not guessed. Raises DataError, naming them, for names that
    are absolute, lead out of the archive, hold a backslash or a control character, or are not UTF-8;
    links and devices; names that come twice; and archives within the archive.
    """
    tidied = ["/".join(part for part in one.name.split("/") if part not in ("", ".")) for one in entries]
    nameless = [one.kind == "file" and not name for one, name in zip(entries, tidied, strict=True)]
    unsafe = [one.name for one, empty in zip(entries, nameless, strict=True) if empty or UNSAFE.search(one.name)]
    _refuse(path, unsafe, "names that lead out of it or are not plain")
    seen = [at for at, name in enumerate(tidied) if name and not any(map(is_passed_over, name.split("/")))]
    _refuse(path, [tidied[at] for at in seen if not _is_utf8(tidied[at])], "names that are not UTF-8")
    strange = [f"{tidied[at]} ({entries[at].kind})" for at in seen if entries[at].kind not in ("file", "folder")]
    _refuse(path, strange, "links or devices, which are not followed")
    files: dict[str, int] = {}
    twice = []
    for at in seen:
        if entries[at].kind == "file":
            if tidied[at] in files:
                twice.append(tidied[at])
            files[tidied[at]] = at
    folders = [tidied[at] for at in seen if entries[at].kind == "folder"]
    inner = {name[: cut.start()] for name in files for cut in re.finditer("/", name)}
    _refuse(path, [*twice, *(inner.union(folders) & set(files))], "names that come twice")
    _refuse(path, [name for name in files if is_archive(name)], "archives of its own, which are not opened")
    return files, folders


def is_archive(name: str) -> bool:
    """Return whether a file of this name is an archive, of a kind that is read or not."""
    return name.lower().endswith((*SUFFIXES, *NOT_READ))


def _refuse(path: Path, names: list[str], what: str) -> None:
    if names:
        shown = sorted({name.encode("unicode_escape").decode() if not name.isprintable() else name for name in names})
        raise DataError(
            f"{path} holds {what}; pack it anew without, or unpack it and give the folder:\n{listed(shown, MOST_SHOWN)}"
        )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
