"""DICOM files for tests: real ones of pydicom, and small ones written here, element by element."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="pydicom, of the part dicom, is not installed")

from pydicom import Dataset, dcmread, dcmwrite, uid
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

__all__ = [
    "CR",
    "Dataset",
    "Sequence",
    "content",
    "dcmread",
    "elements",
    "encapsulate",
    "lookup",
    "real",
    "uid",
    "written",
]

CR = "1.2.840.10008.5.1.4.1.1.1"


def real(name: str) -> bytes:
    """Return a file that comes with pydicom or pydicom-data; nothing is downloaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"{name} is not there: pydicom-data is not installed")
    return Path(found).read_bytes()


def elements(pixels: np.ndarray, **values: Any) -> Dataset:
    """Return a CR image of `pixels` (H, W) or (H, W, 3); `values` replace or add elements, None leaves one out."""
    size = 8 * pixels.dtype.itemsize
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = values.pop("syntax", uid.ExplicitVRLittleEndian)
    found.file_meta.MediaStorageSOPClassUID = values.get("SOPClassUID", CR)
    found.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    all_values = {
        "SOPClassUID": CR,
        "SOPInstanceUID": "1.2.3",
        "Modality": "CR",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1 if pixels.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB",
        "BitsAllocated": size,
        "BitsStored": size,
        "HighBit": (values.get("BitsStored") or size) - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        **({} if pixels.ndim == 2 else {"PlanarConfiguration": 0}),
        **values,
    }
    with warnings.catch_warnings():  # of values that the standard excludes, which are meant
        warnings.simplefilter("ignore")
        for name, value in all_values.items():
            if value is not None:
                setattr(found, name, value)
    if "PixelData" not in values:
        found.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
        found["PixelData"].VR = "OW" if size > 8 else "OB"
    return found


def lookup(entries: np.ndarray, first: int = 0, bits: int = 16) -> Sequence:
    """Return a sequence of one lookup table."""
    table = Dataset()
    table.LUTDescriptor = [len(entries) % (1 << 16), first, bits]
    table.LUTData = entries.astype("<u2").tobytes()
    table["LUTDescriptor"].VR = "US" if first >= 0 else "SS"
    table["LUTData"].VR = "OW"
    return Sequence([table])


def written(found: Dataset) -> bytes:
    """Return the bytes of the file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(buffer, found, enforce_file_format=True)
    return buffer.getvalue()


def content(pixels: np.ndarray, **values: Any) -> bytes:
    """Return a file of `pixels`; see `elements`."""
    return written(elements(pixels, **values))
