"""All metrics with bootstrap intervals: `measure` beside a loop over scikit-learn, in one run.

Both draw whole patients and compute, in every resample, log loss, Brier score, F1 of each class and macro, balanced
accuracy, Matthews correlation, kappa, and area and average precision of each class, macro and micro. The loop is run
for a few resamples (`--loop`, 50) and its time extrapolated to all, which is said. Also prints the peak memory of
`measure` (in a process of its own) and how far it is from what the two cores could do.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time

import numpy as np

CLASSES = 10
THREADS = 2


def case(images: int, patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels (N,), probabilities (N, CLASSES) and patients (N,)."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, images)
    logits = rng.normal(size=(images, CLASSES))
    logits[np.arange(images), labels] += 2
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, probabilities, np.sort(rng.integers(0, patients, images))


def ours(images: int, patients: int, resamples: int) -> tuple[float, float]:
    """Seconds of `measure`, and the MiB that it took beyond its input."""
    from foveal.evaluation.metrics import measure

    names = tuple(f"c{index}" for index in range(CLASSES))
    measure(*case(200, 50)[:2], names, resamples=100)  # imports
    labels, probabilities, units = case(images, patients)
    groups = units.astype(str)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    measure(labels, probabilities, names, groups, resamples=resamples)
    seconds = time.perf_counter() - started
    return seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def loop(images: int, patients: int, resamples: int) -> list[float]:
    """Seconds of each of `resamples` resamples with scikit-learn."""
    from sklearn import metrics
    from sklearn.preprocessing import label_binarize

    labels, probabilities, units = case(images, patients)
    every, rng = np.arange(CLASSES), np.random.default_rng(1)
    starts, sizes = np.unique(units, return_index=True)[1], np.bincount(units)
    sizes = sizes[sizes > 0]
    taken = []
    for _ in range(resamples):
        started = time.perf_counter()
        drawn = rng.integers(0, len(starts), len(starts))
        ends = np.cumsum(sizes[drawn])
        rows = np.repeat(starts[drawn] - np.append(0, ends[:-1]), sizes[drawn]) + np.arange(ends[-1])
        truth, shares = labels[rows], probabilities[rows]
        said, indicator = shares.argmax(axis=1), label_binarize(labels[rows], classes=every)
        metrics.log_loss(truth, shares, labels=every)
        ((shares - indicator) ** 2).sum(axis=1).mean()
        metrics.f1_score(truth, said, average=None, labels=every)
        metrics.f1_score(truth, said, average="macro", labels=every)
        metrics.balanced_accuracy_score(truth, said)
        metrics.matthews_corrcoef(truth, said)
        metrics.cohen_kappa_score(truth, said)
        metrics.roc_auc_score(indicator, shares, average=None)
        metrics.roc_auc_score(indicator, shares, average="micro")
        metrics.average_precision_score(indicator, shares, average=None)
        taken.append(time.perf_counter() - started)
    return taken


def limit(images: int, patients: int, resamples: int) -> float:
    """Seconds that two cores need at least to add up one number an image, class and resample, twice.

    Once for the classes, once for micro: the rows of weights are read from cache in the order of the scores. Measured
    here with plain additions of rows as long as those that `measure` adds, from a block as large.
    """
    from foveal.evaluation.resampling import _abreast

    width = _abreast(patients)
    weights = np.ones((patients, width))
    total = np.zeros_like(weights)
    times = []
    for _ in range(20):
        started = time.perf_counter()
        np.add(total, weights, out=total)
        times.append(time.perf_counter() - started)
    return 2 * images * CLASSES * resamples * statistics.median(times) / weights.size / THREADS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--patients", type=int, default=20_000)
    parser.add_argument("--resamples", type=int, default=2_000)
    parser.add_argument("--loop", type=int, default=50, help="resamples that the loop really makes")
    chosen = parser.parse_args()
    size = (chosen.images, chosen.patients)
    print(f"{size[0]:,} images, {CLASSES} classes, {size[1]:,} patients, {chosen.resamples:,} resamples")
    with multiprocessing.get_context("spawn").Pool(1) as alone:
        seconds, memory = alone.apply(ours, (*size, chosen.resamples))
    print(f"foveal        {seconds:9.1f} s   {memory:6.0f} MiB beyond the input")
    each = loop(*size, chosen.loop)
    whole = statistics.fmean(each) * chosen.resamples
    print(
        f"scikit-learn  {whole:9.1f} s   extrapolated from {chosen.loop} resamples, {statistics.fmean(each):.2f} s each"
    )
    print(f"ratio         {whole / seconds:9.1f}")
    least = limit(*size, chosen.resamples)
    print(
        f"limit         {least:9.1f} s   of plain additions on two cores; foveal is at {seconds / least:.1f} times it"
    )


if __name__ == "__main__":
    main()
