"""foveal explain: why a classifier says so, as pictures with figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.completion import complete_method, complete_run
from foveal.cli.parsing import Trust, image_paths

MEASURES = {"pointed": "largest value on the subject", "inside": "share on it", "iou": "IoU"}


def explain(
    classifier: Annotated[
        Path, typer.Argument(help="A run directory, or its classifier folder.", autocompletion=complete_run)
    ],
    images: Annotated[list[str], typer.Argument(help="Image files and folders.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="gradcam (default), gradcam++, hirescam, layercam, scorecam, eigencam, guided-backprop, "
            "integrated-gradients, smoothgrad, occlusion or rise; repeat it for several.",
            autocompletion=complete_method,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option("--class", help="The class to explain (default: the one answered); repeat it; all: each one."),
    ] = None,
    against: Annotated[str | None, typer.Option(help="Explain why it is the class rather than this one.")] = None,
    stage: Annotated[
        str | None, typer.Option(help="Stage, module or number of the stage (default: the last map before pooling).")
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1, help="Masks of rise (1000), copies of smoothgrad (25), steps of integrated-gradients (32)."
        ),
    ] = None,
    window: Annotated[int | None, typer.Option(min=1, help="Occlusion: side in pixels (a seventh).")] = None,
    stride: Annotated[int | None, typer.Option(min=1, help="Occlusion: pixels between windows (half of it).")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write into; it must not exist.")] = Path("explanations"),
    judged: Annotated[
        bool, typer.Option("--judge/--no-judge", help="Measure whether each map is to be believed.")
    ] = True,
    masks: Annotated[
        Path | None,
        typer.Option(
            help="A folder of masks, called like the images, white where the subject is: do the maps lie on it?",
            show_default=False,
        ),
    ] = None,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="The same by boxes: a CSV file with image, left, top, right, bottom in pixels.", show_default=False
        ),
    ] = None,
    shortcuts: Annotated[
        bool,
        typer.Option(
            "--shortcuts",
            help="All images together, which may be any source: where what speaks for each class lies.",
        ),
    ] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, max=(1 << 32) - 1, help="Of masks and noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    engine: Annotated[
        str, typer.Option(help="torch; another engine has answers only, for occlusion and rise.")
    ] = "torch",
    trust: Trust = None,
) -> None:
    """Explain why images get their classes: overlays, a contact sheet, a page, and figures that say what to believe."""
    from foveal.errors import OutputError, UsageError

    if out.exists():
        raise OutputError(f"{out} exists already; choose another --out.")
    from foveal.workflows.place import refuse_unwritable

    refuse_unwritable(out)
    chosen_stage = int(stage) if stage is not None and stage.lstrip("-").isdecimal() else stage
    if shortcuts:
        others = (target, against, samples, window, stride, masks, boxes)
        if len(images) != 1 or (method and len(method) > 1) or any(others) or engine != "torch":
            raise UsageError(
                "--shortcuts takes one source and one method, and explains the class of each answer; beside these it "
                "knows --stage, --seed, --device, --trust, --skip-unreadable and --out."
            )
        _shortcuts(
            classifier, images[0], (method or ["gradcam"])[0], chosen_stage, seed, device, trust, skip_unreadable, out
        )
        return
    from foveal.explanation.explanation import percent
    from foveal.workflows.explain import explain as explain_images
    from foveal.workflows.explain import opened_classifier, see_stages, write_explanations
    from foveal.workflows.subjects import located_by_method

    loaded = opened_classifier(classifier, device=device, engine=engine, trust=trust)
    found = explain_images(
        loaded,
        image_paths(images),
        method=method or "gradcam",
        target=target,
        against=against,
        stage=chosen_stage,
        samples=samples,
        window=window,
        stride=stride,
        seed=seed,
        judged=judged,
        masks=masks,
        boxes=boxes,
        skip_unreadable=skip_unreadable,
    )
    doubted = [one for one in found if one.warnings]
    for one in found:
        share = f"{one.target} {percent(one.probability)}"
        said = "" if one.answered == one.target else f"  (answered {one.answered})"
        typer.echo(_plain(f"{one.input}  {share}{said}  {one.title}"))
        for warning in one.warnings:
            typer.echo(_plain(f"    not to be trusted: {warning}"))
    files = write_explanations(found, out, see_stages(loaded, found))
    for title, shares in located_by_method(found).items():
        words = ", ".join(f"{MEASURES[name]} {share}" for name, share in shares.items() if name != "area")
        typer.echo(f"{title}: {words}; the subject is {100 * shares['area'].value:.0f} % of the image")
    if judged:
        typer.echo(f"doubted         {len(doubted)} of {len(found)} maps; nothing was found against the others")
    typer.echo(f"explanations    {out} ({len(files)} files; begin with {files[0].name})")


def _shortcuts(
    classifier: Path,
    source: str,
    method: str,
    stage: str | int | None,
    seed: int,
    device: str,
    trust: str | None,
    skip_unreadable: bool,
    out: Path,
) -> None:
    """Print where what speaks for each class lies, and write it into the folder `out`."""
    from foveal.workflows.shortcuts import find_shortcuts

    view = find_shortcuts(
        classifier,
        source,
        method=method,
        stage=stage,
        seed=seed,
        device=device,
        trust=trust,
        skip_unreadable=skip_unreadable,
    )
    for sentence in view.shortcuts.findings:
        typer.echo(_plain(sentence))
    files = view.save(out)
    typer.echo(f"shortcuts       {files[0]}")


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
