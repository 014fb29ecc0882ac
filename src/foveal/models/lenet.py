"""LeNet-5 as it is commonly built today.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: "Gradient-based learning applied to document
recognition", Proc. IEEE 86(11), 1998, with the usual simplifications: C3 is connected to all six
maps, subsampling is a plain average, the output is ten logits under cross-entropy. 61,706
parameters where the paper's network has 60,000.
"""

from __future__ import annotations

from torch import nn

from foveal.models.blocks.quick import AvgPool2d
from foveal.models.network import Stack, make_activation, make_dense, xavier_


def lenet5(
    *, classes: int = 10, channels: int = 1, height: int = 32, width: int = 32, activation: str = "tanh"
) -> Stack:
    """Return LeNet-5. Shapes are given for the native 32×32 input; other sizes change C5's input only.

    Initialised Glorot-uniform (the paper: uniform in ±2.4 / fan-in), biases zero.
    """
    map_height, map_width = ((height - 4) // 2 - 4) // 2, ((width - 4) // 2 - 4) // 2
    network = Stack(
        [
            ("conv1", nn.Conv2d(channels, 6, 5)),  # (B, 6, 28, 28)
            ("act1", make_activation(activation)),
            ("pool1", AvgPool2d(2)),  # (B, 6, 14, 14)
            ("conv2", nn.Conv2d(6, 16, 5)),  # (B, 16, 10, 10)
            ("act2", make_activation(activation)),
            ("pool2", AvgPool2d(2)),  # (B, 16, 5, 5)
            ("flatten", nn.Flatten()),  # (B, 400)
            ("fc1", make_dense(16 * map_height * map_width, 120)),
            ("act3", make_activation(activation)),
            ("fc2", nn.Linear(120, 84)),
            ("act4", make_activation(activation)),
            ("fc3", nn.Linear(84, classes)),
        ],
        stages={"C1": "act1", "S2": "pool1", "C3": "act2", "S4": "pool2", "C5": "act3", "F6": "act4", "output": "fc3"},
    )
    xavier_(network, gain=5 / 3 if activation == "tanh" else 1.0)
    return network
