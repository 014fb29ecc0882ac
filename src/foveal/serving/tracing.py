"""Spans around what takes time, by OpenTelemetry where it is wanted and installed; nothing otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from foveal.errors import MissingPartError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

ATTRIBUTES = frozenset({"case", "images", "engine", "classifier", "attempts", "request_id", "code", "stage"})
NOTHING: AbstractContextManager[None] = nullcontext()


class Tracing:
    """Makes spans; without a provider it makes none and costs nothing."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Keep the provider, of which a tracer is made."""
        self._provider = provider
        self._tracer = provider.get_tracer("foveal") if provider is not None else None

    def span(self, name: str, **attributes: str | int | float) -> AbstractContextManager[None]:
        """Return what times the block within it: ``with tracing.span("infer", images=8):``.

        Only the attributes of the allow-list are sent, and of an error its class alone: its message may quote what
        came in.
        """
        return NOTHING if self._tracer is None else self._span(name, attributes)

    @contextmanager
    def _span(self, name: str, attributes: dict[str, str | int | float]) -> Iterator[None]:
        from opentelemetry.trace import Status, StatusCode

        assert self._tracer is not None
        known = {f"foveal.{key}": value for key, value in attributes.items() if key in ATTRIBUTES}
        with self._tracer.start_as_current_span(
            name, attributes=known, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise

    def note(self, stage: str, seconds: float) -> None:
        """Send a span of something that has just ended and took so long."""
        if self._tracer is not None:
            end = time.time_ns()
            span = self._tracer.start_span(stage, start_time=end - round(seconds * 1e9))
            span.end(end)

    def close(self) -> None:
        """Send what was not sent yet."""
        if self._provider is not None:
            self._provider.shutdown()


def start_tracing(wanted: bool, exporter: SpanExporter | None = None) -> Tracing:
    """Return what makes spans, sent by OTLP over HTTP to where OTEL_EXPORTER_OTLP_ENDPOINT says, or to `exporter`.

    Raises MissingPartError where they are wanted and OpenTelemetry is not installed.
    """
    if not wanted:
        return Tracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise MissingPartError(
            "telemetry = true needs OpenTelemetry, which is not installed: pip install 'foveal[otel]'"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "foveal"}))
    provider.add_span_processor(BatchSpanProcessor(exporter or OTLPSpanExporter()))
    return Tracing(provider)
