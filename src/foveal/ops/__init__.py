"""The operations of a CNN in plain NumPy, one image at a time, with every step to be seen: oracles and teaching.

Nothing here is fast. What is computed is what torch computes, to the last digits of float64; the tests hold the two
together. Images are (C, H, W); a single map (H, W) is taken as one channel, and comes back as one map.
"""

from foveal.ops.activation import elu, gelu, hardswish, leaky_relu, relu, relu6, sigmoid, silu, softmax, tanh
from foveal.ops.convolution import ConvGradients, conv2d, conv2d_backward, trace_conv2d
from foveal.ops.dense import dense, dropout, flatten
from foveal.ops.normalisation import batch_norm, local_response_norm
from foveal.ops.pooling import (
    average_pool2d,
    average_pool2d_backward,
    fractional_max_pool2d,
    global_average_pool,
    global_max_pool,
    max_pool2d,
    max_pool2d_backward,
    min_pool2d,
    stochastic_pool2d,
    trace_pool2d,
)
from foveal.ops.trace import Step, Traced
from foveal.ops.windows import output_size, padding_of

__all__ = [
    "ConvGradients",
    "Step",
    "Traced",
    "average_pool2d",
    "average_pool2d_backward",
    "batch_norm",
    "conv2d",
    "conv2d_backward",
    "dense",
    "dropout",
    "elu",
    "flatten",
    "fractional_max_pool2d",
    "gelu",
    "global_average_pool",
    "global_max_pool",
    "hardswish",
    "leaky_relu",
    "local_response_norm",
    "max_pool2d",
    "max_pool2d_backward",
    "min_pool2d",
    "output_size",
    "padding_of",
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softmax",
    "stochastic_pool2d",
    "tanh",
    "trace_conv2d",
    "trace_pool2d",
]
