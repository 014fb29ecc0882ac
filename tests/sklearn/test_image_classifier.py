"""The estimator keeps scikit-learn's contract and is Foveal inside: the same loop, splits and classifier."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import foveal
from foveal import ImageClassifier
from foveal.errors import FovealError, OutputError, UsageError
from foveal.sklearn import estimator

ROWS = ImageClassifier("mlp", model_options={"hidden": "32"}, epochs=20, batch_size=32, learning_rate=0.02)
SMALL_CNN = {"spec": "conv8p1 relu flatten dense32 relu"}
IMAGES = ImageClassifier("simple_cnn", model_options=SMALL_CNN, epochs=10, batch_size=32, learning_rate=0.02)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Digits as uint8 images (1797, 8, 8) and their labels."""
    x, y = load_digits(return_X_y=True)
    return (x.reshape(-1, 8, 8) * 255 / 16).round().astype(np.uint8), y


@pytest.fixture(scope="module")
def fitted(digits) -> ImageClassifier:
    images, labels = digits
    return small().fit(images[:600], labels[:600])


def small(**changes: object) -> ImageClassifier:
    """Return an estimator that trains on the digits in a moment."""
    chosen = {"model_options": SMALL_CNN, "epochs": 3, "learning_rate": 0.01, "threads": 1, **changes}
    return ImageClassifier(chosen.pop("model", "simple_cnn"), **chosen)


@pytest.mark.slow
@pytest.mark.parametrize("ours", [ROWS, IMAGES], ids=["mlp", "simple_cnn"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(ours):
    """Nothing is expected to fail; what scikit-learn itself skips needs pandas or an environment variable."""
    results = check_estimator(ours, expected_failed_checks={}, on_fail=None)
    failed = {one["check_name"]: one["exception"] for one in results if one["status"] not in ("passed", "skipped")}
    assert not failed, failed
    skipped = {one["check_name"] for one in results if one["status"] == "skipped"}
    assert skipped <= {"check_array_api_input", "check_classifier_data_not_an_array"}, skipped
    assert len(results) > 50


def test_every_parameter_of_training_has_the_recipes_name_and_default():
    own = ImageClassifier().get_params()
    elsewhere = {"image_shape", "random_state", "run_dir", "verbose"}
    recipe = foveal.Recipe().model_dump()
    assert own.keys() - elsewhere <= recipe.keys()
    for name in own.keys() - elsewhere - {"model_options"}:
        assert own[name] == recipe[name], name


def test_the_classifier_that_is_saved_says_what_the_estimator_says(fitted, digits, tmp_path):
    images = digits[0][600:650]
    fitted.save(tmp_path / "classifier")
    loaded = foveal.Classifier.load(tmp_path / "classifier")
    said = np.array([list(one.probabilities.values()) for one in loaded.predict(images)])
    np.testing.assert_array_equal(said, fitted.predict_proba(images))
    assert loaded.classes == tuple("0123456789")
    assert [int(one.label) for one in loaded.predict(images)] == fitted.predict(images).tolist()


def test_the_way_through_the_loop_is_that_of_foveal_train(digits, tmp_path):
    """With the split of a run given as groups that are all train or all validation, nothing else may differ."""
    images, labels = digits[0][:400], digits[1][:400]
    splits = np.array(["train"] * 250 + ["validation"] * 100 + ["test"] * 50)
    options = {"model": "simple_cnn", "model_options": SMALL_CNN, "epochs": 2, "seed": 5, "threads": 1}
    run = foveal.train(
        foveal.load(images, labels, splits=splits), out=tmp_path / "run", progress=False, accept=("imbalance",),
        **options,
    )  # fmt: skip
    held = np.zeros(350, bool)
    held[250:] = True
    ours = small(epochs=2, random_state=5, learning_rate=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimator, "hold_out", lambda *_, **__: held)
        ours.fit(images[:350], labels[:350])
    weights = foveal.Classifier.load(run.path).network.state_dict()
    for name, tensor in ours.to_classifier().network.state_dict().items():
        assert (tensor == weights[name]).all(), name


def test_the_same_seed_gives_the_same_weights_and_another_one_others(digits):
    images, labels = digits[0][:200], digits[1][:200]
    first, again, other = (small(epochs=1, random_state=seed).fit(images, labels) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.predict_proba(images), again.predict_proba(images))
    assert (first.predict_proba(images) != other.predict_proba(images)).any()


def test_a_pickle_predicts_the_same_and_a_clone_is_unfitted(fitted, digits):
    images = digits[0][600:700]
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(images), fitted.predict_proba(images))
    with pytest.raises(NotFittedError):
        clone(fitted).predict(images)


def test_numbers_may_have_any_range(digits):
    x, labels = digits[0][:200].astype(np.float64), digits[1][:200]
    plain = small(epochs=1, validation=0).fit(x, labels).predict_proba(x)  # what is held out goes by the values
    for values in (x / 255, 1e6 + 3 * x, x.astype(np.int64)):
        ours = small(epochs=1, validation=0).fit(values, labels)
        np.testing.assert_allclose(ours.predict_proba(values), plain, atol=1e-4)


def test_flat_images_are_the_images(digits):
    images, labels = digits[0][:200], digits[1][:200]
    flat = images.reshape(len(images), -1)
    ours = small(epochs=1, image_shape=(8, 8)).fit(flat, labels)
    np.testing.assert_array_equal(ours.predict_proba(flat), small(epochs=1).fit(images, labels).predict_proba(images))
    assert (ours.n_features_in_, ours.image_shape_) == (64, (8, 8, 1))
    np.testing.assert_array_equal(ours.predict_proba(images), ours.predict_proba(flat))


def test_numbers_enter_a_larger_frame_as_images_do(digits):
    """LeNet-5 takes 32×32: what is scaled for uint8 is scaled for numbers, up to the rounding of grey levels."""
    images, labels = digits[0][:150], digits[1][:150]
    as_images = ImageClassifier(epochs=1, threads=1).fit(images, labels)
    as_numbers = ImageClassifier(epochs=1, threads=1).fit(images.astype(float), labels)
    pixels = as_images._samples.preprocess.geometry_of_arrays(images[..., None]).astype(float)
    numbers = as_numbers._samples.pixels(images[..., None].astype(float))
    assert numbers.shape == pixels.shape == (150, 32, 32, 1)
    back = numbers * as_numbers._samples.std + as_numbers._samples.mean
    assert np.abs(back - pixels).max() < 1


def test_groups_and_copies_are_not_torn(digits):
    images, labels = digits[0][:300].copy(), digits[1][:300]
    images[150:] = images[:150]  # row i and row i + 150 are copies
    labels = np.concatenate([labels[:150], labels[:150]])
    groups = np.arange(300) % 150 // 3  # three neighbours and their copies are one patient
    held = small(epochs=1, validation=0.3).fit(images, labels, groups=groups).validation_rows_
    assert 50 < len(held) < 130
    assert set(groups[held]).isdisjoint(np.delete(groups, held))
    ungrouped = small(epochs=1).fit(images, labels).validation_rows_
    assert set(ungrouped % 150).isdisjoint(np.delete(np.arange(300), ungrouped) % 150)


def test_a_class_of_one_image_is_trained_on(digits):
    images, labels = digits[0][:60], digits[1][:60] % 2
    labels[7] = 2
    ours = small(epochs=1).fit(images, labels)
    assert 7 not in ours.validation_rows_
    assert ours.predict_proba(images).shape == (60, 3)


def test_without_validation_every_image_is_trained_on(digits):
    ours = small(epochs=1, validation=0).fit(digits[0][:60], digits[1][:60])
    assert not len(ours.validation_rows_)
    assert ours.to_classifier().provenance["train_images"] == 60


def test_what_cannot_be_fitted_is_said_in_one_sentence(digits, fitted):
    images, labels = digits[0][:60], digits[1][:60]
    flat = images.reshape(60, -1)
    for wrong, says in (
        (lambda: small().fit(flat, labels, groups=[1, 2]), "60 images need 60 values"),
        (lambda: small(image_shape=(8, 9)).fit(flat, labels), "64 features"),
        (lambda: small(image_shape=(8, 7)).fit(images, labels), "image_shape=(8, 7)"),
        (lambda: small(image_shape=(8, 8, 2)).fit(images, labels), "image_shape is"),
        (lambda: small().fit(np.zeros((9, 3, 8, 8)), labels[:9]), "transpose(0, 2, 3, 1)"),
        (lambda: small().fit(images, np.zeros(60)), "at least two classes"),
        (lambda: small().fit(images[:4], [0, 1, 2, 3]), "validation=0"),
        (lambda: fitted.predict(images.astype(float)), "fitted are uint8"),
        (lambda: fitted.predict(images[:, 1:]), "(7, 8, 1)"),
    ):
        with pytest.raises(ValueError) as caught:
            wrong()
        assert isinstance(caught.value, FovealError)
        assert says in str(caught.value)
    with pytest.raises(UsageError, match=r"image_shape=\(H, W\)"):
        ImageClassifier().fit(flat, labels)
    with pytest.raises(UsageError, match="learning_rate"):
        small(learning_rate=-1).fit(images, labels)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("image_shape", ["8x8", (8, "8"), 8, (16.0, 16), (True, 64), (0, 8), ()]),
        ("model", [None, 3, "nope"]),
        ("model_options", ["a", "", 3, {1: 2}]),
        ("run_dir", [5, "", "a\0b"]),
        ("random_state", ["x", -1, 1.5, 2**63]),
        ("validation", ["a", None, -0.1, 2, [0.1]]),
        ("size", [(), 3.5, ("a", 1)]),
        ("device", [None, 5, "tpu"]),
        ("epoch_images", [0, "x"]),
        ("nesterov", [True, "x"]),  # the optimiser is adamw
        ("focal_gamma", [1.0, "x"]),  # the loss is cross_entropy
    ],
)
def test_a_wrong_parameter_is_said_in_one_sentence(digits, name, values):
    flat, labels = digits[0][:40].reshape(40, -1), digits[1][:40] % 2
    for value in values:
        with pytest.raises(UsageError) as caught:
            small(**{"epochs": 1, "image_shape": (8, 8), "loss": "cross_entropy", name: value}).fit(flat, labels)
        assert name in str(caught.value) or str(value) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_parameters_of_the_loss_and_the_optimiser_reach_the_recipe(digits):
    chosen = {"optimizer": "sgd", "nesterov": True, "loss": "focal", "focal_gamma": 1.5, "epoch_images": 40}
    ours = small(epochs=1, **chosen).fit(digits[0][:100], digits[1][:100])
    recipe = ours.to_classifier().provenance["recipe"]
    assert {name: recipe[name] for name in chosen} == chosen


def test_a_classifier_is_not_saved_among_other_files(fitted, tmp_path):
    (tmp_path / "empty").mkdir()
    fitted.save(tmp_path / "empty")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("kept")
    for taken in (tmp_path / "empty", tmp_path / "notes", tmp_path / "notes" / "mine.txt"):
        with pytest.raises(OutputError, match="not empty"):
            fitted.save(taken)
    assert [one.name for one in (tmp_path / "notes").iterdir()] == ["mine.txt"]
    with pytest.raises(UsageError, match="folder"):
        fitted.save(5)


def test_numbers_make_no_classifier(digits):
    ours = small(epochs=1).fit(digits[0][:60] / 255, digits[1][:60])
    with pytest.raises(UsageError, match="numbers"):
        ours.to_classifier()


def test_a_request_to_stop_is_not_taken_for_a_failed_fit(digits, monkeypatch):
    def stopped(*_: object) -> None:
        raise foveal.errors.Interrupted("stopped")

    monkeypatch.setattr(estimator, "fit_network", stopped)
    with pytest.raises(KeyboardInterrupt):
        small().fit(digits[0][:60], digits[1][:60])


def test_nothing_stays_behind_but_what_run_dir_keeps(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    images, labels = digits[0][:60], digits[1][:60]
    small(epochs=1).fit(images, labels)
    assert not list((tmp_path / "temporary").iterdir())
    kept = small(epochs=2, run_dir=tmp_path / "kept").fit(images, labels)
    run = foveal.Run(tmp_path / "kept")
    assert [row["epoch"] for row in run.history] == [1, 2] == [row["epoch"] for row in kept.history_]
    assert foveal.Classifier.load(Path(run.path)).classes == tuple("0123456789")
    with pytest.raises(OutputError, match="run_dir"):
        kept.fit(images, labels)


@pytest.mark.slow
def test_it_works_where_scikit_learns_own_work(digits):
    images, labels = digits[0][:900], digits[1][:900]
    scores = cross_val_score(small(epochs=6), images, labels, cv=3)
    assert scores.min() > 0.85, scores
    flat = images.reshape(len(images), -1).astype(float)
    in_a_pipeline = make_pipeline(StandardScaler(), small(model="mlp", model_options=None, epochs=5))
    assert cross_val_score(in_a_pipeline, flat, labels, cv=2).min() > 0.75
    search = GridSearchCV(small(image_shape=(8, 8)), {"learning_rate": [1e-5, 1e-2]}, cv=2, n_jobs=2)
    search.fit(flat, labels)
    assert search.best_params_ == {"learning_rate": 1e-2}
    assert search.best_estimator_.score(flat, labels) > 0.85
