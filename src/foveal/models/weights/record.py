"""What is known of one published weight file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from foveal.errors import UsageError
from foveal.preprocess import Fit, Interpolation, Preprocess

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class PretrainedWeights:
    """One published file of weights for one architecture, and everything that has to come with it.

    `sha256` is the file's, in full where it is known. torchvision publishes its leading eight digits only,
    in the file's name: they prove that the file is whole and the one meant, but somebody who wants to can
    make another file with the same eight digits within minutes. What then still holds: ``weights_only`` runs no
    code, and the provenance says that only eight digits were compared. Other numbers are not kept out.
    Of a hub's safetensors none is known beforehand: they can hold no code; what was fetched is compared with
    the SHA-256 that the hub states, and kept in the record of the cache and in every classifier made of it.
    """

    model: str  # a name of the catalog
    tag: str
    urls: tuple[str, ...]
    file: str  # the name under which it is published
    sha256: str  # in full, or its leading digits, or "" where none is published
    top1: float | None  # accuracy in percent, as published
    top5: float | None
    measured_by: str  # whose figures these are
    size: int  # side of the input in pixels
    short_side: int  # to which the image is scaled before the centre is cut; `size`: as it is
    interpolation: Interpolation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    licence: str
    fit: Fit = "crop"
    member: str = ""  # of the archive at `urls`, where the file lies in one: ``package/…/file``
    options: Mapping[str, Any] = field(default_factory=dict)  # that the network needs to be the one of these weights
    default: bool = False  # what `pretrained=True` means for this architecture
    head: bool = True  # False: the file's classifying layers are of no use
    note: str = ""

    @property
    def name(self) -> str:
        """``resnet50.imagenet1k_v2``: the architecture and the tag."""
        return f"{self.model}.{self.tag}"

    @property
    def protocol(self) -> str:
        """How the published accuracy was measured."""
        if self.top1 is None:
            return "no accuracy given"
        how = f"all of it squeezed to {self.size}" if self.fit == "stretch" else f"centre {self.size}"
        first = "" if self.fit == "stretch" else f", short side {self.short_side}"
        return f"ImageNet-1k validation, one crop{first}, {how}; {self.measured_by}"

    @property
    def bytes_known(self) -> bool:
        """Whether the whole SHA-256 is in the catalog."""
        return len(self.sha256) == 64

    def preprocess(self, channels: int = 3) -> Preprocess:
        """Return how an image becomes what these weights expect; for grey images as for colour ones.

        A grey image equals a colour image with three equal channels. The first convolution of a grey network is
        the sum over the three (`adapting.in_grey`), so that it sees the same, provided that one mean and one
        deviation serve all three. Where they differ (ImageNet's do, by at most 0.08 and 0.005), grey takes their
        average: what the network sees then differs from the colour path by less than 0.25 deviations. Networks
        that undo ImageNet's normalisation see 0.5 and 0.5, for grey images by the preprocessing itself: exactly.
        """
        mean, std = self.mean, self.std
        if channels == 1 and self.options.get("transform_input"):
            mean, std = HALF[:1], HALF[:1]
        elif channels == 1:
            mean, std = (round(sum(mean) / 3, 6),), (round(sum(std) / 3, 6),)
        elif channels != 3:
            raise UsageError(f"Pretrained weights are for colour (3) or grey (1) images, not for {channels} channels.")
        return Preprocess(
            channels, self.size, self.size, self.size, self.size, self.fit, mean, std,
            short_side=self.short_side if self.fit == "crop" else 0, interpolation=self.interpolation,
        )  # fmt: skip
