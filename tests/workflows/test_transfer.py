"""Two-stage transfer: what moves and what does not, features against the slow way, resumption, refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import foveal
import foveal.engines.trunk as engines
from foveal.classifier import image_statistics
from foveal.data.images import EncodedImages
from foveal.errors import ClassifierError, Interrupted, UsageError
from foveal.features import Extractor
from foveal.models.catalog import create_model
from foveal.models.cut import cut_before_head
from foveal.models.weights.adding import add
from foveal.preprocess import decode
from foveal.run import Run
from foveal.training import loop
from foveal.training.recipe import Recipe, read_recipe
from foveal.training.stage import Frozen
from foveal.training.transfer import choose_transfer
from foveal.workflows import started, transfer

MODEL = "mobilenet_v2"  # with batch norms
SMALL = {
    "model": MODEL, "pretrained": "mine", "size": 32, "epochs": 2, "head_epochs": 3, "batch_size": 8, "threads": 1,
    "features_engine": "torch", "progress": False,
}  # fmt: skip
ALONE = {name: value for name, value in SMALL.items() if name != "head_epochs"} | {"transfer": "feature_extraction"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    network = create_model(MODEL)
    network.train()
    with torch.no_grad():
        for module in network.modules():  # a new network says the same of every image: nothing to learn from
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        for _ in range(3):
            network(torch.randn(16, 3, 32, 32) + torch.randn(16, 3, 1, 1))
    save_file(network.state_dict(), folder / "mine.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOVEAL_CACHE", str(folder / "cache"))
        add(folder / "mine.safetensors", as_name=f"{MODEL}.mine")
    return folder / "cache"


@pytest.fixture(autouse=True)
def in_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOVEAL_CACHE", str(cache))


def state_of(run: Run) -> dict[str, torch.Tensor]:
    return foveal.Classifier.load(run.path, device="cpu").network.state_dict()


def start_state() -> dict[str, torch.Tensor]:
    return foveal.create_model(MODEL, classes=3, pretrained="mine").state_dict()


def test_feature_extraction_moves_the_head_alone(class_folders, tmp_path):
    run = foveal.train(class_folders, out=tmp_path / "run", **ALONE)
    after, before = state_of(run), start_state()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"classifier.1.weight", "classifier.1.bias"}  # no statistics of a batch norm
    assert {row["stage"] for row in run.history} == {"head"}


def test_fine_tuning_moves_the_last_block_and_nothing_below(class_folders, tmp_path):
    rates = {"head_learning_rate": 1e-6, "learning_rate": 0.001}
    run = foveal.train(class_folders, out=tmp_path / "run", transfer="fine_tune", **rates, **SMALL)
    after, before = state_of(run), start_state()
    moved = {name.rpartition(".")[0] for name in after if not torch.equal(after[name], before[name])}
    assert moved and all(name.startswith(("features.17.", "features.18.", "classifier.1")) for name in moved)
    assert any(name.startswith("features.17.") for name in moved)
    assert [row["stage"] for row in run.history] == ["head"] * 3 + ["last block (bottleneck7)"] * 2
    assert [stage["epochs"] for stage in run.metrics["training"]["stages"]] == [3, 2]
    recipe = read_recipe(run.recipe_file)
    assert recipe.unfreeze == "last_block" and recipe.head_schedule == "one_cycle"


def test_frozen_batch_norms_stay_in_eval_mode():
    network = create_model(MODEL, classes=3)
    head = cut_before_head(network).head_names
    _, shares = transfer.second_stage(network, Recipe(model=MODEL, pretrained="mine", unfreeze="last_block"), head)
    norms = {name: one for name, one in network.named_modules() if isinstance(one, torch.nn.BatchNorm2d)}
    learning = {name for name in norms if f"{name}.weight" in shares}
    with Frozen(network, shares) as frozen:
        frozen.train_mode()
        assert {name for name, one in norms.items() if one.training} == learning != set()
        assert network.get_submodule("classifier.0").training  # the head's dropout drops
        network(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all((one.grad is not None) == (name in shares) for name, one in network.named_parameters())
    assert all(one.requires_grad for one in network.parameters())


def test_features_and_the_slow_way_train_the_same(class_folders, tmp_path, monkeypatch):
    smooth = {**SMALL, "optimizer": "sgd", "learning_rate": 0.01}  # AdamW makes of the last bits' noise whole steps
    fast = foveal.train(class_folders, out=tmp_path / "fast", transfer="fine_tune", **smooth)
    monkeypatch.setattr(transfer, "GIB", 0)  # no memory for the second stage's features: it asks the images
    slow = foveal.train(class_folders, out=tmp_path / "slow", transfer="fine_tune", **smooth)
    losses = [[row["validation_loss"] for row in run.history] for run in (fast, slow)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and losses[0][:3] == losses[1][:3]
    a, b = state_of(fast), state_of(slow)
    assert all(torch.allclose(a[name].float(), b[name].float(), rtol=1e-2, atol=2e-3) for name in a)
    chances = [[float(row["probability"]) for row in run.predictions("test")] for run in (fast, slow)]
    assert chances[0] == pytest.approx(chances[1], abs=1e-3)


def test_what_is_measured_on_features_is_what_the_classifier_predicts(class_folders, tmp_path):
    run = foveal.train(class_folders, out=tmp_path / "run", **ALONE)
    classifier = foveal.Classifier.load(run.path, device="cpu")
    paths = {row["record_id"]: row["path"] for row in run.splits}
    for row in run.predictions("test"):
        (prediction,) = classifier.predict([paths[row["record_id"]]])
        assert prediction.probability == pytest.approx(float(row["probability"]), abs=1e-5)
    stored = foveal.run.read_json(run.evaluation_dir("test") / "metrics.json")
    assert stored["engine"] == "torch" and stored["from_features"] is True


def test_a_second_training_computes_no_feature_and_ends_with_the_same_bytes(class_folders, tmp_path, monkeypatch):
    first = foveal.train(class_folders, out=tmp_path / "first", **ALONE)
    monkeypatch.setattr(started, "open_trunk", lambda *_: pytest.fail("features were computed again"))
    monkeypatch.setattr(image_statistics, "measure", lambda *_: pytest.fail("images were measured again"))
    monkeypatch.setattr(EncodedImages, "decode", lambda *_: pytest.fail("images were decoded again"))
    again = foveal.train(class_folders, out=tmp_path / "again", **ALONE)
    weights = [(run.classifier_dir / "weights.safetensors").read_bytes() for run in (first, again)]
    assert weights[0] == weights[1]
    gates = [foveal.Classifier.load(run.path).decisions.gate for run in (first, again)]
    assert all(np.array_equal(array, gates[1].arrays()[name]) for name, array in gates[0].arrays().items())


def test_the_gate_says_of_kept_statistics_what_it_says_of_the_images(class_folders, tmp_path):
    for name in ("first", "again"):  # measured, and read
        run = foveal.train(class_folders, out=tmp_path / name, **ALONE)
        rows, paths = run.predictions("test"), {row["record_id"]: row["path"] for row in run.splits}
        classifier = foveal.Classifier.load(run.path, device="cpu")
        files = [Path(paths[row["record_id"]]).read_bytes() for row in rows]
        said = classifier.answer(np.stack([classifier.preprocess.geometry(decode(file)) for file in files]))
        assert said.gate_scores.tolist() == pytest.approx([float(row["gate_score"]) for row in rows], abs=1e-4)
        assert said.abstained.tolist() == [row["abstained"] for row in rows]


@pytest.mark.parametrize("epoch", [2, 4], ids=["in the first stage", "in the second stage"])
def test_a_run_stopped_in_either_stage_goes_on_exactly(class_folders, tmp_path, monkeypatch, epoch):
    whole = foveal.train(class_folders, out=tmp_path / "whole", transfer="fine_tune", **SMALL)
    end_epoch = loop.end_epoch

    def stop(work):
        if work.state.position.epochs == epoch:
            work.state.save(Run(tmp_path / "cut"))
            raise Interrupted("stopped")
        return end_epoch(work)

    monkeypatch.setattr(loop, "end_epoch", stop)
    with pytest.raises(Interrupted):
        foveal.train(class_folders, out=tmp_path / "cut", transfer="fine_tune", **SMALL)
    monkeypatch.setattr(loop, "end_epoch", end_epoch)
    resumed = foveal.train(resume=tmp_path / "cut", progress=False)
    a, b = state_of(whole), state_of(resumed)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [row["validation_loss"] for row in whole.history] == [row["validation_loss"] for row in resumed.history]


def test_a_second_stage_that_brings_nothing_better_leaves_the_first_ones_weights(class_folders, tmp_path):
    spoiling = {**SMALL, "transfer": "full", "learning_rate": 3.0, "optimizer": "sgd", "schedule": "constant"}
    more = {"head_learning_rate": 0.01, "head_epochs": 8, "clip_norm": 1.0}
    run = foveal.train(class_folders, out=tmp_path / "run", **{**spoiling, **more})
    assert run.metrics["training"]["best_epoch"] <= 8 and len(run.history) == 10
    after, before = state_of(run), start_state()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert moved == {"classifier.1.weight", "classifier.1.bias"}


def test_a_head_by_name_is_trained_kept_and_loaded(class_folders, tmp_path):
    run = foveal.train(class_folders, out=tmp_path / "run", head="dense256", **ALONE)
    network = foveal.Classifier.load(run.path, device="cpu").network
    assert network.get_submodule("head.1").weight.shape == (256, 1280)


def test_the_transfer_is_chosen_by_the_number_of_images_and_says_why():
    recipe = Recipe(model=MODEL, pretrained="mine")
    kinds = {count: choose_transfer(recipe, count) for count in (999, 1_000, 19_999, 20_000)}
    assert [kinds[count][0].transfer for count in kinds] == ["feature_extraction", "fine_tune", "fine_tune", "full"]
    assert "999 images are fewer than 1,000" in kinds[999][1]
    assert choose_transfer(recipe.changed({"transfer": "full"}), 5)[1] == ""
    assert choose_transfer(Recipe(), 5)[0].transfer is None
    assert choose_transfer(recipe.changed({"unfreeze": "all"}), 5)[0].transfer == "full"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": MODEL, "transfer": "feature_extraction"}, "needs pretrained weights"),
        ({"model": MODEL, "unfreeze": "all"}, "no second stage without pretrained weights, to which unfreeze belongs"),
        ({"pretrained": "mine", "transfer": "feature_extraction", "head_epochs": 3}, "say epochs, not head_epochs"),
        ({"pretrained": "mine", "unfreeze": 0}, "unfreeze"),
        ({"pretrained": "mine", "layer_decay": 1.5}, "layer_decay"),
    ],
)
def test_what_contradicts_itself_is_refused(fields, said):
    with pytest.raises(UsageError, match=said):
        foveal.train("digits", progress=False, **fields)


def test_too_many_layers_are_refused_before_anything_is_written(class_folders, tmp_path):
    with pytest.raises(UsageError, match="52 layers below its head; 60"):
        foveal.train(class_folders, out=tmp_path / "run", transfer="fine_tune", unfreeze=60, **SMALL)
    assert not (tmp_path / "run").exists()


def test_an_engine_that_answers_otherwise_is_not_used(class_folders, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    opened = engines.open_runner

    def wrong(*arguments, **options):
        run = opened(*arguments, **options)
        return lambda x: run(x) + np.float32(0.1)

    monkeypatch.setattr(engines, "open_runner", wrong)
    run = foveal.train(class_folders, out=tmp_path / "run", **{**ALONE, "features_engine": "auto", "progress": True})
    assert read_recipe(run.recipe_file).features_engine == "torch"
    assert "gives other activations than torch" in capsys.readouterr().err
    with pytest.raises(ClassifierError, match="gives other activations than torch"):
        foveal.train(class_folders, out=tmp_path / "onnx", **{**ALONE, "features_engine": "onnx"})


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_every_engine_gives_torchs_features(engine):
    pytest.importorskip("onnxruntime" if engine == "onnx" else engine, reason=f"{engine} is not installed")
    network = create_model(MODEL).eval()
    trunk = cut_before_head(network).trunk
    x = np.random.default_rng(0).normal(size=(5, 3, 32, 32)).astype(np.float32)
    opened = engines.open_trunk(trunk, engine, (3, 32, 32), torch.device("cpu"))
    assert opened.run(x) == pytest.approx(engines.TorchTrunk(trunk, torch.device("cpu"))(x), abs=1e-5)
    assert network.training is False and isinstance(Extractor({}, None, lambda _: opened.run), Extractor)


def test_lanes_that_are_asked_at_once_answer_as_one_after_the_other():
    pytest.importorskip("openvino", reason="openvino is not installed")
    trunk = cut_before_head(create_model(MODEL).eval()).trunk
    opened = engines.open_trunk(trunk, "openvino", (3, 32, 32), torch.device("cpu"))
    batches = np.random.default_rng(0).normal(size=(24, 8, 3, 32, 32)).astype(np.float32)
    alone = [opened.run(x) for x in batches]
    with ThreadPoolExecutor(engines.lanes_of("openvino") + 2) as pool:  # more than there are lanes: they wait
        together = list(pool.map(opened.run, batches))
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def test_with_augmentation_the_head_learns_from_a_few_views_and_the_second_stage_from_new_ones(
    class_folders, tmp_path, monkeypatch
):
    fields = {**SMALL, "augment": "photo", "feature_views": 2, "transfer": "fine_tune"}
    asked = []
    extract = started.extract

    def watched(extractor, *args, **more):
        if "weights" in extractor.facts:  # not the statistics of the images
            asked.append(extractor.facts.get("view", 0))
        return extract(extractor, *args, **more)

    monkeypatch.setattr(started, "extract", watched)
    whole = foveal.train(class_folders, out=tmp_path / "whole", **fields)
    assert asked == [0, 1, 2]
    plain = foveal.train(class_folders, out=tmp_path / "plain", **{**fields, "augment": "none"})
    assert whole.history[0]["train_loss"] != plain.history[0]["train_loss"]
    again = foveal.train(class_folders, out=tmp_path / "again", **fields)
    a, b = state_of(whole), state_of(again)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_head_on_the_whole_map_and_mixed_features_train(class_folders, tmp_path):
    """Their features are many numbers, and vectors: the audit and the mixing have to take them."""
    plain = foveal.train(class_folders, out=tmp_path / "plain", head="flatten256", **ALONE)
    assert [row["stage"] for row in plain.history] == ["head", "head"]
    for number, policy in enumerate(("mixup=1", "cutmix=1")):
        mixed = foveal.train(class_folders, out=tmp_path / f"{number}", augment=policy, **ALONE)
        alone = foveal.train(class_folders, out=tmp_path / f"{number}-alone", **ALONE)
        assert mixed.history[0]["train_loss"] != alone.history[0]["train_loss"]
