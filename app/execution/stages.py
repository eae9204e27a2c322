"""The stages of an attempt, and its batches of windows, as spans of the trace."""

import time

from opentelemetry import trace
from opentelemetry.trace import Span, Tracer

from app.updates import Found, Result, Update
from schemas.progress import Stage

NAMES = {
    Stage.FETCHING: "fetch",
    Stage.DECODING: "decode",
    Stage.TRANSCRIBING: "transcribe",
    Stage.DIARIZING: "diarize",
    Stage.MERGING: "merge",
}


class StageSpans:
    """One span at a time, below the one that runs."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._stage: tuple[str, Span] | None = None
        self._since = time.time_ns()
        self._enter(NAMES[Stage.FETCHING])

    def enter(self, update: Update | Result) -> None:
        """Begin the span of the stage that an update comes from, or that stores the result."""
        if not isinstance(update, Update):
            self._enter("store")
            return
        self._enter(NAMES[update.stage])
        if update.found is not None:
            self._batch(update.found)

    def end(self) -> None:
        """End the span of the stage that the attempt came to."""
        if self._stage is not None:
            self._stage[1].end()
            self._stage = None

    def _enter(self, name: str) -> None:
        if self._stage is not None and self._stage[0] == name:
            return
        self.end()
        self._stage = name, self._tracer.start_span(name)
        self._since = time.time_ns()

    def _batch(self, found: Found) -> None:
        """A batch of windows, which took the time since the one before."""
        inside = trace.set_span_in_context(self._stage[1]) if self._stage else None
        figures = {"audio.processed_seconds": found.processed_seconds, "segments": len(found.segments)}
        self._tracer.start_span("windows", inside, start_time=self._since, attributes=figures).end()
        self._since = time.time_ns()
