"""The rules for outputs without data: those of torch itself, and torch's own refusal where something does not fit."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from foveal.models.anatomy.shapes import Quickly

PAIRS = st.tuples(*[st.integers(1, 4)] * 2)
STRIDES = st.tuples(*[st.integers(0, 4)] * 2)  # 0 is none
PADDINGS = st.tuples(*[st.integers(0, 2)] * 2)
SIDES = st.tuples(*[st.integers(1, 12)] * 2)


def outcome(call: Any, *given: Any, **named: Any) -> tuple[int, ...] | type[Exception]:
    try:
        with torch.inference_mode():
            return tuple(call(*given, **named).shape)
    except (RuntimeError, ValueError, ZeroDivisionError) as error:  # torch itself divides by a stride of 0
        return type(error)


def as_torch(call: Any, shapes: list[tuple[int, ...]], **named: Any) -> None:
    """Hold the rule's answer against that of torch with numbers: the same shape, or an error from both."""
    real = outcome(call, *(torch.zeros(one) for one in shapes), **named)
    with Quickly():
        quick = outcome(call, *(torch.empty(one, device="meta") for one in shapes), **named)
    assert isinstance(quick, tuple) == isinstance(real, tuple), (quick, real)
    if isinstance(real, tuple):
        assert quick == real


@settings(max_examples=150, deadline=None)
@given(SIDES, PAIRS, STRIDES, PADDINGS, PAIRS, st.sampled_from([1, 2, 3]), st.integers(1, 6))
def test_a_convolution(sides, kernel, stride, padding, dilation, groups, inputs):
    """Also one whose groups do not divide the channels, and a kernel larger than the image."""
    shapes = [(2, inputs, *sides), (6, max(1, inputs // groups), *kernel)]
    as_torch(F.conv2d, shapes, stride=stride, padding=padding, dilation=dilation, groups=groups)


@settings(max_examples=150, deadline=None)
@given(SIDES, PAIRS, st.none() | STRIDES, PADDINGS, PAIRS, st.booleans())
def test_a_pool(sides, kernel, stride, padding, dilation, ceil):
    shape = [(1, 3, *sides)]
    as_torch(F.max_pool2d, shape, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil)
    as_torch(F.avg_pool2d, shape, kernel_size=kernel, stride=stride, padding=padding, ceil_mode=ceil)


@settings(max_examples=60, deadline=None)
@given(SIDES, st.lists(st.integers(-2, 3), min_size=1, max_size=5))
def test_padding_with_a_constant(sides, pad):
    as_torch(F.pad, [(1, 2, *sides)], pad=pad)


@pytest.mark.parametrize("shapes", [[(2, 3, 4), (3, 1)], [(2, 1), (5,)], [(2, 3), (4,)]])
def test_what_is_broadcast(shapes):
    as_torch(torch.add, shapes)


@pytest.mark.parametrize("network", ["resnet18", "densenet121", "googlenet_2014", "efficientnet_lite0", "alexnet_2012"])
def test_a_network_is_inspected_without_the_compiler(network):
    """Which torch loads for Python's own rules, and which takes longer than all the rest."""
    said = (
        "import sys; import foveal; from foveal.models.anatomy.anatomy import inspect_network\n"
        f"inspect_network(foveal.create_model({network!r}), 3, 227, 227); print('sympy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
