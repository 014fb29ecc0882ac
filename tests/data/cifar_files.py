"""CIFAR's files, written as the published ones are: records of bytes, and pickles as Python 2 wrote them."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from foveal.data.sources.cifar import LAYOUTS, Layout

IMAGES = {"train": 7, "test": 4}  # in each file of the small copies
SMALL = tuple(
    replace(layout, parts=tuple(replace(part, images=IMAGES[part.split]) for part in layout.parts))
    for layout in LAYOUTS
)


class Python2Pickle:
    """The instructions that Python 2's cPickle writes for protocol 2."""

    def __init__(self) -> None:
        self.parts = [b"\x80\x02"]
        self.puts = 0

    def put(self, part: bytes) -> None:
        self.puts += 1
        self.parts += [part, b"q" + bytes([self.puts]) if self.puts < 256 else b"r" + struct.pack("<I", self.puts)]

    def string(self, text: bytes) -> None:
        short = len(text) < 256
        self.put(b"U" + bytes([len(text)]) + text if short else b"T" + struct.pack("<i", len(text)) + text)

    def number(self, value: int) -> None:
        if 0 <= value < 1 << 16:
            self.parts.append(b"K" + bytes([value]) if value < 256 else b"M" + struct.pack("<H", value))
        else:
            self.parts.append(b"J" + struct.pack("<i", value))

    def value(self, value: object) -> None:
        if isinstance(value, bytes):
            self.string(value)
        elif isinstance(value, int):
            self.number(value)
        elif isinstance(value, list):
            self.put(b"]")
            self.parts.append(b"(")
            for one in value:
                self.value(one)
            self.parts.append(b"e")
        elif isinstance(value, np.ndarray):
            self.array(value)
        else:
            raise TypeError(type(value))

    def array(self, values: np.ndarray) -> None:
        self.put(b"cnumpy.core.multiarray\n_reconstruct\n")
        self.put(b"cnumpy\nndarray\n")
        self.number(0)
        self.put(b"\x85")
        self.string(b"b")
        self.put(b"\x87")
        self.put(b"R")
        self.parts.append(b"(")
        self.number(1)
        for side in values.shape:
            self.number(side)
        self.put(b"\x86")
        self.put(b"cnumpy\ndtype\n")
        self.string(values.dtype.str[1:].encode())
        self.number(0)
        self.number(1)
        self.put(b"\x87")
        self.put(b"R")
        self.parts.append(b"(")
        self.number(3)
        self.string(values.dtype.str[:1].encode())
        self.parts.append(b"NNN")
        self.number(-1)
        self.number(-1)
        self.number(0)
        self.put(b"t")
        self.parts.append(b"b")
        fortran = values.flags.f_contiguous and not values.flags.c_contiguous
        self.parts.append(b"\x88" if fortran else b"\x89")
        self.string(values.tobytes(order="F" if fortran else "C"))
        self.put(b"t")
        self.parts.append(b"b")


def python2_pickle(fields: dict[bytes, object]) -> bytes:
    """Return the pickle of a dictionary of byte strings, integers, lists of these, and arrays."""
    pickle = Python2Pickle()
    pickle.put(b"}")
    pickle.parts.append(b"(")
    for key, value in fields.items():
        pickle.string(key)
        pickle.value(value)
    pickle.parts.append(b"u.")
    return b"".join(pickle.parts)


def write_cifar(root: Path, layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write all files of `layout` into `root`; return images (N, 32, 32, 3), fine and coarse labels (N,)."""
    rng = np.random.default_rng(layout.classes)
    root.mkdir(parents=True)
    images, fine, coarse = [], [], []
    for part in layout.parts:
        images.append(rng.integers(0, 256, (part.images, 32, 32, 3), dtype=np.uint8))
        fine.append(rng.integers(0, layout.classes, part.images))
        coarse.append(rng.integers(0, 20, part.images))
        planes = images[-1].transpose(0, 3, 1, 2).reshape(part.images, -1)
        columns = [fine[-1]] if layout.classes == 10 else [coarse[-1], fine[-1]]
        if layout.label_bytes:
            records = np.concatenate([np.stack(columns, axis=1).astype(np.uint8), planes], axis=1)
            (root / part.file).write_bytes(records.tobytes())
        else:
            labels = {layout.labels_key: fine[-1].tolist()}
            labels |= {b"coarse_labels": coarse[-1].tolist()} if layout.classes == 100 else {}
            names = [f"picture_{row:06d}.png".encode() for row in range(part.images)]
            batch = {b"batch_label": b"a batch", **labels, b"data": planes, b"filenames": names}
            (root / part.file).write_bytes(python2_pickle(batch))
    write_names(root, layout)
    return np.concatenate(images), np.concatenate(fine), np.concatenate(coarse)


def write_names(root: Path, layout: Layout) -> None:
    fine = [f"class{number:02d}" for number in range(layout.classes)]
    coarse = [f"group{number:02d}" for number in range(20)]
    if layout.label_bytes:
        (root / layout.names_file).write_text("\n".join(fine) + "\n\n")
        if layout.classes == 100:
            (root / "coarse_label_names.txt").write_text("\n".join(coarse) + "\n")
        return
    fields: dict[bytes, object] = {layout.names_key: [name.encode() for name in fine], b"num_vis": 3072}
    if layout.classes == 100:
        fields[b"coarse_label_names"] = [name.encode() for name in coarse]
    (root / layout.names_file).write_bytes(python2_pickle(fields))
