"""Heat maps from a child process: the ones that explaining gives here, laid over the picture that was sent."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_images import COLOUR, encoded
from PIL import Image

from foveal.classifier import Classifier
from foveal.errors import ClassifierError, ResourceError, UsageError
from foveal.explanation.explain import Image as Explained
from foveal.explanation.explain import explain_images
from foveal.explanation.mapping import Wanted
from foveal.explanation.methods import find_method
from foveal.serving.children import explainer
from foveal.serving.children.decoding import Decoded, Decoders
from foveal.serving.children.explaining import Explainer
from foveal.serving.children.heat_map import heat_shares, over_picture
from foveal.serving.children.placement import placed
from small_classifiers import make_classifier

CONTENT = encoded(COLOUR, "PNG")  # 64 × 48


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Classifier]:
    folder = tmp_path_factory.mktemp("stored") / "classifier"
    make_classifier(3).save(folder)
    return folder, Classifier.load(folder, device="cpu")


def run(work: Callable[[Explainer], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        explainer = Explainer(**options)
        try:
            return await work(explainer)
        finally:
            await explainer.stop()

    return asyncio.run(main())


def decoded_by(classifier: Classifier) -> Decoded:
    async def main() -> Decoded:
        decoders = Decoders(1, 1024, 20)
        await decoders.start()
        try:
            return await decoders.decode(CONTENT, classifier.preprocess, 89)
        finally:
            await decoders.stop()

    return asyncio.run(main())


def expected(classifier: Classifier, decoded: Decoded, method: str, target: str | None) -> np.ndarray:
    number = None if target is None else classifier.classes.index(target)
    wanted = Wanted((find_method(method),), (number,), judged=False)
    (found,) = explain_images(classifier, [Explained(decoded.pixels, "", "")], wanted)
    where = placed(classifier.preprocess, decoded.width, decoded.height)
    return np.asarray(over_picture(heat_shares(found), where, 1024))


def test_a_heat_map_is_the_explanation_over_the_picture(stored: tuple[Path, Classifier]) -> None:
    folder, classifier = stored
    decoded = decoded_by(classifier)

    async def work(explainer: Explainer) -> None:
        assert explainer.pid is None
        pids = set()
        for method, target in (("grad_cam", None), ("gradcam", "lime"), ("occlusion", "plum")):
            found = await explainer.explain(decoded, folder, classifier.hash, method=method, target=target)
            image = Image.open(io.BytesIO(found.png))
            assert (image.mode, image.size) == ("L", (64, 48))
            assert np.array_equal(np.asarray(image), expected(classifier, decoded, method, target))
            assert target is None or found.facts["class"] == target
            assert found.facts["classifier_hash"] == classifier.hash
            assert found.facts["faithfulness"] is None and "input" not in found.facts
            assert found.facts["placement"]["scaled_from"] == [64, 48]
            pids.add(explainer.pid)
        assert len(pids) == 1
        judged = await explainer.explain(decoded, folder, classifier.hash, judged=True, longest_side=32)
        assert judged.facts["faithfulness"]["deletion"] is not None
        assert Image.open(io.BytesIO(judged.png)).size == (32, 24)

    run(work)


@pytest.mark.slow
def test_an_ensemble_is_explained_as_a_whole(tmp_path: Path) -> None:
    for number in (1, 2):
        make_classifier(3, seed=number).save(tmp_path / "folds" / str(number) / "classifier")
    (tmp_path / "folds.json").write_text('{"folds": 2}', "utf-8")
    classifier = Classifier.load(tmp_path, device="cpu")
    decoded = decoded_by(classifier)

    async def work(explainer: Explainer) -> None:
        found = await explainer.explain(decoded, tmp_path, classifier.hash)
        assert found.facts["parameters"] == {"members": 2}
        assert np.array_equal(
            np.asarray(Image.open(io.BytesIO(found.png))), expected(classifier, decoded, "gradcam", None)
        )

    run(work)


def test_what_cannot_be_explained_is_refused_and_the_process_stays(
    stored: tuple[Path, Classifier], tmp_path: Path
) -> None:
    folder, classifier = stored
    decoded = decoded_by(classifier)

    async def work(explainer: Explainer) -> None:
        with pytest.raises(UsageError, match='There is no class "pear"'):
            await explainer.explain(decoded, folder, classifier.hash, target="pear")
        with pytest.raises(UsageError, match='There is no method "magic"'):
            await explainer.explain(decoded, folder, classifier.hash, method="magic")
        with pytest.raises(ClassifierError, match="is another one than the one that answered"):
            await explainer.explain(decoded, folder, "0" * 64)
        with pytest.raises(ClassifierError):
            await explainer.explain(decoded, tmp_path / "none", classifier.hash)
        other = replace(decoded, pixels=decoded.pixels[1:])
        with pytest.raises(ClassifierError, match="another size"):
            await explainer.explain(other, folder, classifier.hash)
        pid = explainer.pid
        assert (await explainer.explain(decoded, folder, classifier.hash)).png
        assert explainer.pid == pid

    run(work)


@pytest.mark.slow
def test_a_process_that_dies_or_takes_too_long_is_started_anew(stored: tuple[Path, Classifier]) -> None:
    folder, classifier = stored
    decoded = decoded_by(classifier)

    async def work(explainer: Explainer) -> None:
        await explainer.explain(decoded, folder, classifier.hash)
        pid = explainer.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        asked = [asyncio.create_task(explainer.explain(decoded, folder, classifier.hash)) for _ in range(2)]
        gone = asyncio.create_task(explainer.explain(decoded, folder, classifier.hash))
        await asyncio.sleep(0.05)
        gone.cancel()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ResourceError, match="ended its process"):
            await asked[0]
        assert (await asked[1]).png
        second = explainer.pid
        assert second not in (pid, None)
        gone = asyncio.create_task(explainer.explain(decoded, folder, classifier.hash))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone.cancel()  # at work already: the process finishes it, and answers the next
        assert (await explainer.explain(decoded, folder, classifier.hash)).png
        assert explainer.pid == second
        os.kill(int(second or 0), signal.SIGSTOP)
        with pytest.raises(ResourceError, match="took longer than 8 s"):
            await explainer.explain(decoded, folder, classifier.hash)
        assert explainer.pid is None

    run(work, timeout_s=8)


@pytest.mark.slow
def test_the_process_ends_when_nobody_has_asked_for_a_while(stored: tuple[Path, Classifier]) -> None:
    folder, classifier = stored
    decoded = decoded_by(classifier)

    async def work(explainer: Explainer) -> None:
        await explainer.explain(decoded, folder, classifier.hash)
        pid, end = explainer.pid, time.monotonic() + 20
        assert pid is not None
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        assert explainer.pid is None
        assert (await explainer.explain(decoded, folder, classifier.hash)).png

    run(work, idle_minutes=0.2 / 60)


def test_what_fails_without_a_sentence_of_ours_is_told_without_its_words(monkeypatch):
    sent = []
    monkeypatch.setattr(explainer, "_explained", lambda *_: Path("/home/ana/secret").read_bytes())
    monkeypatch.setattr(explainer, "send", lambda _, facts, __: sent.append(facts))
    explainer._answer(None, b"{}", b"")
    assert sent == [{"error": "FileNotFoundError", "words": "The explanation failed (FileNotFoundError)."}]
