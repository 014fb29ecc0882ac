"""What stands around an image while a kernel slides over it. All of it is zeros.

With n pixels a side, a kernel of k, stride s and dilation d, the kernel reaches over r = d (k - 1) + 1 pixels:

==============  ==================  ==========================  ===================================================
padding         before, after       side of the output          who does it
==============  ==================  ==========================  ===================================================
``valid``       0, 0                ⌊(n - r) / s⌋ + 1           the kernel never leaves the image
``same``        ⌊(r - 1) / 2⌋ each  n at stride 1, ⌈n / s⌉      PyTorch networks; at stride 1 an even kernel has one
                                    for odd kernels             more after, as ``nn.Conv2d(padding="same")``
``tensorflow``  ⌊t / 2⌋, the rest   ⌈n / s⌉                     TensorFlow's and Keras's ``same``, where
                                                                t = max((⌈n / s⌉ - 1) s + r - n, 0)
``full``        r - 1 each          ⌊(n + r - 2) / s⌋ + 1       every pixel meets every weight of the kernel
==============  ==================  ==========================  ===================================================

At stride 1 the two sames are equal. At stride 2 on even sides, TensorFlow pads (0, 1) for 3×3 and (1, 2) for 5×5
where PyTorch pads (1, 1) and (2, 2): the outputs have one size but lie on different grids, so weights trained with
one lose accuracy with the other.

Source: TensorFlow's documentation of ``tf.nn.convolution``; V. Dumoulin, F. Visin: "A guide to convolution
arithmetic for deep learning", 2016, for valid, half (same) and full padding.
"""

from __future__ import annotations

from torch import Tensor, nn

from foveal.errors import UsageError, nearest

PADDINGS = ("valid", "same", "tensorflow", "full")


def reach(kernel: int, dilation: int = 1) -> int:
    """Return the number of pixels from the first to the last that a kernel touches."""
    return dilation * (kernel - 1) + 1


def tensorflow_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return the pixels that TensorFlow's ``same`` adds (before, after) a side of `size`."""
    outputs = -(-size // stride)  # rounded up
    total = max((outputs - 1) * stride + reach(kernel, dilation) - size, 0)
    return total // 2, total - total // 2


def output_size(size: int, kernel: int, *, padding: str, stride: int = 1, dilation: int = 1) -> int:
    """Return the side of the output that `padded_conv` gives for a side of `size`; below 1 where nothing is left."""
    reached = reach(kernel, dilation)
    added = {
        "valid": 0,
        "same": reached - 1 if stride == 1 else (reached - 1) // 2 * 2,
        "tensorflow": sum(tensorflow_padding(size, kernel, stride, dilation)),
        "full": 2 * (reached - 1),
    }[checked_padding(padding)]
    return (size + added - reached) // stride + 1


def padded_conv(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    padding: str,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Conv2d:
    """Return a convolution with square kernel and one of the `PADDINGS`; UsageError for another word.

    It is torch's own wherever that pads alike before and after, else `Conv2dSame`.
    """
    reached = reach(kernel, dilation)
    amount = {
        "valid": 0,
        "same": (reached - 1) // 2,
        "tensorflow": (reached - 1) // 2,
        "full": reached - 1,
    }[checked_padding(padding)]
    uneven = reached % 2 == 0 and stride == 1 and padding == "same"
    if uneven or (padding == "tensorflow" and (stride > 1 or reached % 2 == 0)):
        return Conv2dSame(inputs, outputs, kernel, stride, dilation=dilation, groups=groups, bias=bias)
    return nn.Conv2d(inputs, outputs, kernel, stride, amount, dilation, groups, bias)


def checked_padding(padding: str) -> str:
    """Return `padding` if it is one of the `PADDINGS`; UsageError names them."""
    if padding not in PADDINGS:
        raise UsageError(f'There is no padding "{padding}"; choose {", ".join(PADDINGS)}.{nearest(padding, PADDINGS)}')
    return padding


class Conv2dSame(nn.Conv2d):
    """A convolution with TensorFlow's ``same`` padding: (B, C, H, W) → (B, outputs, ⌈H / stride⌉, ⌈W / stride⌉).

    The padding depends on the size of the image, so it is worked out in each pass. Where it is the same on both
    sides the convolution does it itself; else the image is copied into a larger one. Exports with its size fixed.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, 0, dilation, groups, bias)

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        (top, bottom), (left, right) = (
            tensorflow_padding(size, kernel, stride, dilation)
            for size, kernel, stride, dilation in zip(
                input.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True
            )
        )
        amount = (top, left)
        if (top, left) != (bottom, right):
            input = nn.functional.pad(input, (left, right, top, bottom))
            amount = (0, 0)
        return nn.functional.conv2d(input, self.weight, self.bias, self.stride, amount, self.dilation, self.groups)


class MaxPool2dSame(nn.MaxPool2d):
    """Max pooling with TensorFlow's ``same`` padding, which never wins: (B, C, H, W) → (B, C, ⌈H / s⌉, ⌈W / s⌉)."""

    def __init__(self, kernel: int, stride: int | None = None) -> None:
        super().__init__(kernel, stride)
        self.pairs = (kernel, kernel if stride is None else stride)

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        (top, bottom), (left, right) = (tensorflow_padding(size, *self.pairs) for size in input.shape[2:])
        padded = nn.functional.pad(input, (left, right, top, bottom), value=float("-inf"))
        pooled: Tensor = super().forward(padded)
        return pooled
