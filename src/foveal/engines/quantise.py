"""Static int8: weights and activations of an ONNX file in eight bits, their ranges seen on training images.

ONNX Runtime's static quantisation in the QDQ form, which OpenVINO reads too. Chosen by measuring:

* Batch normalisation is folded into convolutions first, so that one range is taken of both.
* Weights have a range for each output channel; activations are unsigned, one range a tensor, its ends the smallest
  and largest value seen.
* Weights use all of their eight bits where the processor adds products in 32 bits (VNNI), else seven
  (`reduce_range`): without VNNI two products are added in 16 bits, which full-range weights overflow in silence. The
  eighth bit is worth a lot: EfficientNet-Lite0 on CIFAR-10 loses 3 points of accuracy without it and none with it
  (600 validation images). An engine remembers its bits, and one of eight is not opened where it would be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from foveal.engines.capture import INPUT
from foveal.engines.kinds import need
from foveal.engines.lacking import quietly, saying_what_it_lacks
from foveal.engines.processor import REDUCED_BITS, weight_bits


def quantise(onnx_file: Path, target: Path, batches: Iterable[np.ndarray]) -> None:
    """Write `onnx_file` in int8 as `target`; `batches` (B, C, H, W) are normalised training images.

    Raises MissingPartError without onnx and ONNX Runtime, ClassifierError where the network cannot be quantised.
    """
    need("onnx", "onnx", "onnxruntime")
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """Hands the batches out one by one, as onnxruntime asks for them."""

        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: np.ascontiguousarray(batch)}

    folded = onnx_file.with_suffix(".folded.onnx")
    with saying_what_it_lacks("int8"), quietly():
        quant_pre_process(onnx_file, folded, skip_symbolic_shape=True)
        quantize_static(
            folded,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=weight_bits() == REDUCED_BITS,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    folded.unlink(missing_ok=True)
