"""The out-of-domain gate on real pairs: how often it stops a foreign image, and how often one of its own kind.

Trains three small classifiers (or takes those that an earlier call left in FOLDER), fits a gate to each with 2 % false
alarms, its thresholds from validation images, and prints the share of images that it stops, in all and by detector,
each with n and its 95 % Wilson interval. How far an image is by its statistics, and that the nearest training image
counts, was chosen on altered copies of training images of these three sets and on altered flowers and digits, with
earlier tables of these pairs in sight: rates for the altered X-rays may be a little flattering.

- digits: LeNet-5 on MNIST; foreign: letters of the DejaVu fonts, white on black, and CIFAR-10 test images in grey
- flowers: EfficientNet-Lite0, a new head on frozen features; foreign: chest X-rays
- cxr3: the same on chest X-rays; foreign: flowers, the single-frame pictures that come with pydicom, and its own
  test images inverted, turned by 90°, cropped to the quarter in the middle, and blurred by 3 % of their side

    python bench/gate.py [--folder FOLDER]

Needs the data (FOVEAL_TEST_DATA, or ../shared/data beside the checkout), `foveal weights fetch efficientnet_lite0`,
the fonts in /usr/share/fonts/truetype/dejavu, and for other radiographs the part dicom and pydicom-data.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import string
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

import foveal
from foveal.classifier.gate import Gate
from foveal.classifier.inference import logits_and_features
from foveal.evaluation.gate_fitting import Seen, fit_gate
from foveal.evaluation.interval import wilson

DATA = Path(os.environ.get("FOVEAL_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
FONTS = Path("/usr/share/fonts/truetype/dejavu")
Item = TypeVar("Item")
MOST = 2_000  # images of a split that are looked at, evenly spaced
DIGIT_LIKE = "IOSZBlos"  # letters that many a hand writes as a digit: counted apart
OTHER_RADIOGRAPHS = {  # single-frame pictures of pydicom and pydicom-data, one of each examination
    "RG3_UNCR.dcm": "ankle, CR", "MR2_UNCR.dcm": "shoulder, MR", "693_UNCR.dcm": "abdomen, CT",
    "J2K_pixelrep_mismatch.dcm": "head, CT", "bad_sequence.dcm": "neck, CT", "explicit_VR-UN.dcm": "pancreas, CT",
    "examples_overlay.dcm": "liver, MR", "CT_small.dcm": "CT", "MR_small.dcm": "MR", "JPEG2000.dcm": "bones, NM",
    "JPGLosslessP14SV1_1s_1f_8b.dcm": "ultrasound", "US1_UNCR.dcm": "ultrasound, colour",
    "OBXXXX1A.dcm": "foetus, ultrasound",
}  # fmt: skip
CHESTS = {"RG1_UNCR.dcm": "chest, CR"}  # in domain by its subject, and from another source


@dataclass(frozen=True)
class Bed:
    """A classifier, its gate, its untouched test images, and how it looks at others."""

    name: str
    classifier: foveal.Classifier
    gate: Gate
    test: list[Image.Image]

    def see(self, pictures: list[Image.Image]) -> Seen:
        return see(self.classifier, pictures, np.zeros(len(pictures), int))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, help="where runs are, or are put, to be used again")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("flowers5", "cxr3"):
            if not (folder / "data" / name).is_dir():
                zipfile.ZipFile(DATA / f"{name}.zip").extractall(folder / "data")
        of_digits(folder)
        of_photographs_and_radiographs(folder)


def of_digits(folder: Path) -> None:
    bed = bed_of("mnist", DATA / "mnist", folder / "mnist", digits_by_id(), preset="lenet5_speed")
    letters = {letter: list(rendered(letter)) for letter in string.ascii_letters}
    unlike = [picture for letter, some in letters.items() if letter not in DIGIT_LIKE for picture in some]
    report(bed, {
        "letters, unlike digits": unlike,
        f"letters {' '.join(DIGIT_LIKE)}": [picture for letter in DIGIT_LIKE for picture in letters[letter]],
        "CIFAR-10 in grey": cifar_in_grey(),
    })  # fmt: skip


def of_photographs_and_radiographs(folder: Path) -> None:
    data = folder / "data"
    transfer = {"model": "efficientnet_lite0", "pretrained": True, "transfer": "feature_extraction"}
    flowers = bed_of("flowers", data / "flowers5", folder / "flowers", pictures_by_id(data / "flowers5"), **transfer)
    columns = {"group_column": "patient_id", "source_column": "source"}
    cxr3 = bed_of(
        "cxr3", data / "cxr3" / "manifest.csv", folder / "cxr3", pictures_by_id(data / "cxr3"), **transfer, **columns
    )
    others = {"photographs of scikit-image": photographs(), "CIFAR-10, enlarged": cifar()}
    digits = [digits_by_id()(f"t10k/{number}") for number in range(0, 10_000, 20)]
    radiographs = [Image.fromarray(radiograph(file)) for file in OTHER_RADIOGRAPHS | CHESTS]
    report(flowers, {"chest X-rays": cxr3.test, "pictures of pydicom": radiographs, **others, "MNIST": digits})
    changed = {name: [change(one) for one in cxr3.test] for name, change in CHANGES.items()}
    report(cxr3, {"flowers": flowers.test, **others, "MNIST": digits, **changed})
    one_by_one(cxr3, OTHER_RADIOGRAPHS | CHESTS)


def bed_of(name: str, source: Path, run: Path, picture: Callable[[str], Image.Image], **choices: Any) -> Bed:
    """Train where there is no run yet, and fit the gate: references from training, thresholds from validation."""
    if not (run / "classifier").is_dir():
        foveal.train(source, out=run, progress=False, **choices)
    classifier = foveal.Classifier.load(run, device="cpu")
    parts: dict[str, Seen] = {}
    with (run / "splits.csv").open() as file:
        rows = list(csv.DictReader(file))
    for split in ("train", "validation"):
        some = evenly(of(rows, split))
        labels = np.array([classifier.classes.index(row["label"]) for row in some])
        parts[split] = see(classifier, [picture(row["record_id"]) for row in some], labels)
    units = np.array([row["group"] or row["record_id"] for row in evenly(of(rows, "validation"))])
    gate = fit_gate(parts["train"], parts["validation"], held_units=units)
    return Bed(name, classifier, gate, [picture(row["record_id"]) for row in evenly(of(rows, "test"))])


def of(rows: list[dict[str, str]], split: str) -> list[dict[str, str]]:
    return [row for row in rows if row["split"] == split]


def evenly(items: list[Item]) -> list[Item]:
    return [items[at] for at in np.unique(np.linspace(0, len(items) - 1, min(MOST, len(items))).astype(int))]


def see(classifier: foveal.Classifier, pictures: list[Image.Image], labels: np.ndarray) -> Seen:
    preprocess = classifier.preprocess
    pixels = np.stack([preprocess.geometry(one) for one in pictures])
    device = torch.device("cpu")
    logits, features = logits_and_features(classifier.network, preprocess.normalise, pixels, device=device)
    return Seen.of(pixels, features, logits.numpy(), labels)


def report(bed: Bed, foreign: dict[str, list[Image.Image]]) -> None:
    facts = bed.gate.facts
    detectors = [one.name for one in bed.gate.detectors]
    print(
        f"\n{bed.name}: thresholds from {facts['n']} {facts['split']} images of {facts['units']} units, "
        f"{facts['false_alarm_rate']:.1%} asked, {facts['promised_rate']:.1%} promised"
    )
    print(f"{'':34} {'n':>5} {'stopped':>8}   95 % interval   " + "".join(f"{name:>12}" for name in detectors))
    for name, pictures in {"own test images (false alarms)": bed.test, **foreign}.items():
        seen = bed.see(pictures)
        answers = bed.gate.judge(seen.measured, seen.features, seen.logits)
        fired = answers.scores >= 1
        share = wilson(int(fired.any(axis=1).sum()), len(fired))
        alone = "".join(f"{one:12.1%}" for one in fired.mean(axis=0))
        print(f"{name:34} {len(fired):5} {share.value:8.1%}   {share.low:6.1%} – {share.high:6.1%} {alone}", flush=True)
        for reason, count in commonest(answers.reasons):
            print(f"{'':8}{count:5} × {reason}")


def commonest(reasons: dict[int, str], most: int = 2) -> list[tuple[str, int]]:
    said, counts = np.unique(list(reasons.values()), return_counts=True)
    return [(said[at].partition(": ")[2], int(counts[at])) for at in np.argsort(-counts, kind="stable")[:most]]


def photographs() -> list[Image.Image]:
    """Return the pictures that come with scikit-image, all of another kind: a cat, an astronaut, coins, a page, …."""
    home = find_spec("skimage")
    if home is None or home.origin is None:
        raise SystemExit("the photographs of scikit-image are not here: pip install --no-deps scikit-image")
    files = sorted(Path(home.origin).with_name("data").glob("*.[jp]*g"))
    return [Image.open(file).convert("RGB") for file in files]


def cifar() -> list[Image.Image]:
    with tarfile.open(DATA / "cifar10.tar.xz") as archive:
        members = [one for one in archive if "/test/" in f"/{one.name}" and one.name.endswith("00.jpg")]
        return [unpacked(archive, one).convert("RGB").resize((224, 224)) for one in members]


def unpacked(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Image.Image:
    content = archive.extractfile(member)
    assert content is not None, f"{member.name} is no file"
    return Image.open(content)


def radiograph(file: str) -> np.ndarray:
    from pydicom.data import get_testdata_file

    from foveal.dicom import pixels, read

    return pixels.display(read.read(Path(str(get_testdata_file(file, download=False))).read_bytes())).squeeze()


def one_by_one(bed: Bed, files: dict[str, str]) -> None:
    for file, title in files.items():
        seen = bed.see([Image.fromarray(radiograph(file))])
        answers = bed.gate.judge(seen.measured, seen.features, seen.logits)
        scores = "".join(f"{score:12.2f}" for score in answers.scores[0])
        print(f"  {title:32} {'stopped' if answers.reasons else 'passes':>14} {'scores':>17}   {scores}")


def digits_by_id() -> Callable[[str], Image.Image]:
    arrays = {}
    for part in ("train", "t10k"):
        content = gzip.decompress((DATA / "mnist" / f"{part}-images-idx3-ubyte.gz").read_bytes())
        arrays[part] = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)

    def picture(record: str) -> Image.Image:
        part, _, number = record.partition("/")
        return Image.fromarray(arrays[part][int(number)])

    return picture


def pictures_by_id(folder: Path) -> Callable[[str], Image.Image]:
    def picture(record: str) -> Image.Image:
        return ImageOps.exif_transpose(Image.open(folder / record)).convert("RGB")

    return picture


def rendered(letter: str) -> Iterator[Image.Image]:
    """Yield `letter` in each font, white on black, centred by its ink in 28×28 and 20 pixels high, as in MNIST."""
    for file in sorted(FONTS.glob("DejaVuS*.ttf")):
        font = ImageFont.truetype(str(file), 80)
        left, top, right, bottom = font.getbbox(letter)
        ink = Image.new("L", (int(right - left), int(bottom - top)))
        ImageDraw.Draw(ink).text((-left, -top), letter, fill=255, font=font)
        scale = 20 / max(ink.size)
        ink = ink.resize((max(1, round(ink.width * scale)), max(1, round(ink.height * scale))), Image.Resampling.BOX)
        page = Image.new("L", (28, 28))
        page.paste(ink, ((28 - ink.width) // 2, (28 - ink.height) // 2))
        yield page


def cifar_in_grey() -> list[Image.Image]:
    found: list[Image.Image] = []
    with tarfile.open(DATA / "cifar10.tar.xz") as archive:
        for member in archive:
            if "/test/" in f"/{member.name}" and member.name.endswith(".jpg") and int(member.name[-5]) % 5 == 0:
                picture = unpacked(archive, member).convert("L")
                found.append(picture.resize((28, 28), Image.Resampling.BILINEAR))
    return evenly(found)


def quarter(picture: Image.Image) -> Image.Image:
    """Return the middle of `picture`, half as wide and half as high."""
    width, height = picture.size
    return picture.crop((width // 4, height // 4, width - width // 4, height - height // 4))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "inverted": ImageOps.invert,
    "turned by 90°": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "cropped to a quarter": quarter,
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(0.03 * min(picture.size))),
}

if __name__ == "__main__":
    main()
