"""What is counted, for Prometheus: a registry of the service's own, and labels from short known lists only."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
STAGES = ("wait", "decode", "infer", "commit", "explain")
VERDICTS = ("accept", "amend", "reject", "second-opinion")
LOST_DECODERS = ("decoder_crashed", "decoder_timeout")  # each costs a process, which is replaced
OTHER = "other"
NAMESPACE = "foveal"
MOST_VALUES = 400  # of one label: what comes beyond is counted as other, so that nobody can fill the memory
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """The figures of one service. Labels are routes, classes and codes: never a path, a name or an id."""

    def __init__(
        self,
        facts: Mapping[str, str] | None = None,
        *,
        stages: Callable[[str, float], None] = lambda _name, _seconds: None,
    ) -> None:
        """Make the registry; `facts` tell more of the build, and `stages` is told of each stage and its seconds."""
        self.registry = CollectorRegistry()
        self._told = stages
        self._seen: dict[str, set[str]] = {}
        self._gauges: dict[str, tuple[str, str, Callable[[], float | Mapping[str, float]]]] = {}
        self._requests = self._counter("requests", "Requests answered", "route", "method", "status")
        self._seconds = self._histogram("request_seconds", "Their duration", SECONDS, "route")
        self._answers = self._counter("answers", "Images answered", "label", "abstained")
        self._refusals = self._counter("refusals", "Requests and images refused", "code")
        self._batches = self._histogram("batch_images", "Images answered together", SIZES)
        self._stages = self._histogram("stage_seconds", "Duration of a stage", SECONDS, "stage")
        self._restarts = self._counter("decoder_restarts", "Decoders that were replaced", "reason")
        self._reviews = self._counter("reviews", "Verdicts of people", "verdict")
        self.registry.register(
            _Facts({"version": version("foveal"), "python": platform.python_version(), **(facts or {})})
        )
        self.registry.register(_Observed(self._gauges))
        ProcessCollector(registry=self.registry)

    def _counter(self, name: str, words: str, *labels: str) -> Counter:
        return Counter(name, words, labels, registry=self.registry, namespace=NAMESPACE)

    def _histogram(self, name: str, words: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, words, labels, registry=self.registry, namespace=NAMESPACE, buckets=buckets)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `route` is its template, as /v1/cases/{id}."""
        route = self._known("route", route)
        self._requests.labels(route, method if method in METHODS else OTHER, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answer(self, label: str | None, abstained: str | None) -> None:
        """Count an image answered with a class, or with the reason why with none."""
        self._answers.labels(self._known("label", label or ""), self._known("abstained", abstained or "")).inc()

    def refusal(self, code: str) -> None:
        """Count what was refused, by the code of its error."""
        self._refusals.labels(self._known("code", code)).inc()
        if code in LOST_DECODERS:
            self._restarts.labels(code).inc()

    def batch(self, images: int) -> None:
        """Count one run of the network."""
        self._batches.observe(images)

    def stage(self, name: str, seconds: float) -> None:
        """Note how long a stage took: wait, decode, infer, commit, explain."""
        self._stages.labels(name if name in STAGES else OTHER).observe(seconds)
        self._told(name, seconds)

    def review(self, verdict: str) -> None:
        """Count a verdict."""
        self._reviews.labels(verdict if verdict in VERDICTS else OTHER).inc()

    def observe(self, name: str, words: str, read: Callable[[], float | Mapping[str, float]], label: str = "") -> None:
        """Have `read` called whenever the figures are asked for: a number, or one for each value of `label`.

        So are jobs by state and the trail's length kept: ``observe("jobs", "Jobs by state", counts, "state")``.
        Where it fails, the figure is left out.
        """
        self._gauges[f"foveal_{name}"] = (words, label, read)

    def exposition(self) -> bytes:
        """Return everything in the text format of Prometheus, of the type `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def _known(self, label: str, value: str) -> str:
        seen = self._seen.setdefault(label, set())
        if value not in seen:
            if len(seen) >= MOST_VALUES:
                return OTHER
            seen.add(value)
        return value


class _Facts(Collector):
    """The build, as a metric that is always 1."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._facts = dict(facts)

    def collect(self) -> list[Metric]:
        return [InfoMetricFamily("foveal_build", "What runs", self._facts)]


class _Observed(Collector):
    """Figures that are read when they are asked for."""

    def __init__(self, gauges: Mapping[str, tuple[str, str, Callable[[], float | Mapping[str, float]]]]) -> None:
        self._gauges = gauges

    def collect(self) -> list[Metric]:
        found: list[Metric] = []
        for name, (words, label, read) in self._gauges.items():
            family = GaugeMetricFamily(name, words, labels=[label] if label else None)
            try:
                values = read()
            except Exception:  # noqa: BLE001 - a database that is away must not hide the other figures
                continue
            if isinstance(values, Mapping):
                for value, number in values.items():
                    family.add_metric([value], number)
            else:
                family.add_metric([], values)
            found.append(family)
        return found
