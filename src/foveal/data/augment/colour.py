"""Colour jitter: one table a picture for brightness, contrast and gamma, one matrix for the colours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foveal.data.augment.draws import Draws, Lot, hashes, normal
from foveal.data.augment.policy import Augment

# Brightness, and the two axes of colour that stand on it: YIQ (ITU-R BT.470, system M), rows by red, green, blue.
YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
# Krizhevsky et al. 2012 (sec. 4.1) print neither; these, on the scale 0 to 1, are of fb.resnet.torch (Facebook 2016).
PCA_VALUES = (0.2175, 0.0188, 0.0045)
PCA_AXES = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))  # a column an axis


def mean_colours(x: Tensor) -> Tensor:
    """Return the mean of each channel of uint8 `x` (b, C, H, W), float64 (b, C) from 0 to 255, where `Draws` are.

    A row's sum is a whole number that float32 holds: the order of the additions changes nothing.
    """
    lines = x.float().sum(3)  # (b, C, H)
    lines = lines.cpu() if x.device.type == "mps" else lines
    return lines.double().sum(2) / (x.shape[2] * x.shape[3])


def brightness_of(colours: Tensor) -> Tensor:
    """Return the brightness of `colours` (B, 1 or 3), float64 (B,): the grey itself, or Y of red, green and blue."""
    if colours.shape[1] == 1:
        return colours[:, 0]
    red, green, blue = YIQ[0]
    return colours[:, 0] * red + colours[:, 1] * green + colours[:, 2] * blue


class Tone:
    """Brightness, contrast and gamma: y = b · (c · (γ(x) - γ(m)) + γ(m)), within 0 to 255, as a table of 256.

    x is a pixel's value, m the picture's mean brightness before anything is done to it, γ(x) = 255 (x / 255)^g, and
    c, b and g are the picture's contrast, brightness and gamma. A. Howard, "Some improvements on deep convolutional
    neural network based image classification", 2013, sec. 2.2, jitters brightness and contrast so; gamma is an
    addition.
    """

    def __init__(self, policy: Augment, draws: Draws) -> None:
        most = math.log(1 + policy.gamma)
        self.exponent = draws.between(Lot.GAMMA, -most, most).exp()
        self.contrast = draws.between(Lot.CONTRAST, 1 - policy.contrast, 1 + policy.contrast)
        self.brightness = draws.between(Lot.BRIGHTNESS, 1 - policy.brightness, 1 + policy.brightness)

    def __call__(self, x: Tensor, part: slice) -> Tensor:
        """Return uint8 `x` (b, C, H, W) through its images' tables: float32, 0 to 255."""
        mean = brightness_of(mean_colours(x))
        table = tone_table(mean, self.brightness[part], self.contrast[part], self.exponent[part])  # (b, 256)
        table = table.to(x.device, torch.float32)
        places = x.int()
        places += torch.arange(0, table.numel(), 256, dtype=torch.int32, device=x.device)[:, None, None, None]
        return table.flatten().index_select(0, places.flatten()).view(x.shape)


def tone_table(mean: Tensor, brightness: Tensor, contrast: Tensor, exponent: Tensor) -> Tensor:
    """Return `Tone`'s y for each x from 0 to 255, float64 (B, 256); the arguments are float64 (B,)."""
    values = torch.arange(256, dtype=torch.float64, device=mean.device) / 255
    curve = 255 * values ** exponent[:, None]  # (B, 256)
    pivot = (255 * (mean / 255) ** exponent)[:, None]
    return (brightness[:, None] * (contrast[:, None] * (curve - pivot) + pivot)).clamp(0, 255)


class Colours:
    """Saturation, hue and colour shift of red, green and blue: an affine map a picture, within 0 to 255.

    Saturation scales the distance from the grey of the same brightness, hue turns it about the grey axis (in YIQ, not
    in HSV: one product, brightness kept). Krizhevsky et al. 2012, sec. 4.1, add p α λ for each of the three axes of
    ImageNet's colours, α normally distributed.
    """

    def __init__(self, policy: Augment, draws: Draws, device: torch.device) -> None:
        saturation = draws.between(Lot.SATURATION, 1 - policy.saturation, 1 + policy.saturation)
        turn = draws.between(Lot.HUE, -policy.hue, policy.hue) * (2 * math.pi)
        self.matrix = colour_matrix(saturation, turn).to(device, torch.float32)  # (B, 3, 3)
        alphas = normal(hashes(draws.keys(Lot.PCA_COLOUR), 3)).double() * policy.pca_colour
        self.shift = (255 * pca_shift(alphas)).to(device, torch.float32)  # (B, 3)

    def __call__(self, x: Tensor, part: slice) -> Tensor:
        """Return float32 `x` (b, 3, H, W), 0 to 255, in its images' colours."""
        red, green, blue = x.unbind(1)  # (b, H, W) each
        matrix, shift = self.matrix[part, :, :, None, None], self.shift[part, :, None, None]
        out = torch.empty_like(x)
        for channel in range(3):
            total = torch.mul(red, matrix[:, channel, 0], out=out[:, channel])
            total += green * matrix[:, channel, 1]
            total += blue * matrix[:, channel, 2]
            total += shift[:, channel]
        return out.clamp_(0, 255)


def colour_matrix(saturation: Tensor, radians: Tensor) -> Tensor:
    """Return (B, 3, 3) float64 on red, green, blue: in YIQ, the colour plane turned by `radians` and scaled."""
    to_yiq = torch.tensor(YIQ, dtype=torch.float64)
    to_rgb = torch.linalg.inv(to_yiq)  # on the CPU: a GPU would be waited for
    cosine, sine = saturation * radians.cos(), saturation * radians.sin()
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    rows = [[one, zero, zero], [zero, cosine, -sine], [zero, sine, cosine]]
    turned = torch.stack([torch.stack(row, 1) for row in rows], 1)  # (B, 3, 3)
    matrix: Tensor = to_rgb.to(turned.device) @ turned @ to_yiq.to(turned.device)
    return matrix


def pca_shift(alphas: Tensor) -> Tensor:
    """Return Σ p α λ over the three axes, float64 (B, 3) on the scale 0 to 1; `alphas` (B, 3)."""
    axes = torch.tensor(PCA_AXES, dtype=torch.float64, device=alphas.device)
    values = torch.tensor(PCA_VALUES, dtype=torch.float64, device=alphas.device)
    return ((alphas * values)[:, None] * axes).sum(2)
