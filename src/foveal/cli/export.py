"""foveal export: a classifier for ONNX Runtime, OpenVINO or torch.export, kept only if it answers as torch does."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from foveal.cli.completion import complete_run, complete_source
from foveal.cli.parsing import Trust


class To(StrEnum):
    onnx = "onnx"
    openvino = "openvino"
    torch_export = "torch-export"


def export(
    classifier: Annotated[
        Path, typer.Argument(help="A run directory, or its classifier folder.", autocompletion=complete_run)
    ],
    to: Annotated[To, typer.Option(help="onnx, openvino or torch-export.")],
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise to eight bits; onnx and openvino. What it costs is measured.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Labelled images to compare on, as for `foveal train`; the run's own validation images without it.",
            autocompletion=complete_source,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="mnist, cifar10, …: a folder with their files; nothing is downloaded.")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="On how many images to measure, at most.")] = 512,
    max_loss: Annotated[
        float, typer.Option(min=0, max=100, help="How many points of accuracy int8 may cost; beyond it is refused.")
    ] = 1.0,
    trust: Trust = None,
) -> None:
    """Write a classifier for another engine into its folder, once its answers to real images are torch's."""
    from foveal.workflows.export import export as run_export

    done = run_export(
        classifier,
        to=to.value,
        int8=int8,
        data=data,
        data_dir=data_dir,
        images=images,
        max_loss=max_loss,
        trust=trust,
    )
    for line in _lines(done.engine, done.record):
        typer.echo(line)
    for file in done.files:
        typer.echo(f"written    {file}")


def _lines(engine: str, record: dict[str, Any]) -> list[str]:
    parity, accuracy, took = record["parity"], record.get("accuracy"), record.get("latency_ms")
    lines = [
        f"parity     probabilities differ by at most {parity['max_probability_difference']:.1e}, logits by "
        f"{parity['max_logit_difference']:.1e}; same class on {parity['label_agreement']:.2%} of {parity['n']:,} "
        f"{parity['images']}"
    ]
    if accuracy:
        loss = accuracy["loss"]
        low, high = loss["low"] * 100, loss["high"] * 100
        lines.append(
            f"accuracy   fp32 {accuracy['fp32']:.2%}, int8 {accuracy['int8']:.2%}: {loss['value'] * 100:.2f} points "
            f"lost ({loss['level']:.0%} interval {low:.2f} to {high:.2f}, {accuracy['n']:,} images, {loss['method']})"
        )
    if took:
        where = record["hardware"]
        lines.append(
            f"one image  {took['engine']:.2f} ms, torch {took['torch']:.2f} ms ({engine}, {where['threads']} threads, "
            f"{where['processor']})"
        )
    return lines
