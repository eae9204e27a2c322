"""The metrics of live tasks: their lag, and the delays of their finals and partials."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Upper limits of the histograms' buckets, in seconds.
DELAYS = (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 5, 10, 30)


class LiveMetrics:
    """Lag and delays of the live tasks of one worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lags: dict[object, float] = {}  # by delivery
        self._lag = Gauge(
            "natscribe_live_lag_seconds",
            "Published sound that is behind the text, of the live task that is behind most.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._final = Histogram(
            "natscribe_live_final_delay_seconds",
            "Seconds from the end of an utterance to its text.",
            buckets=DELAYS,
            registry=registry,
        )
        self._partial = Histogram(
            "natscribe_live_partial_delay_seconds",
            "Seconds from the begin of an utterance to its first partial.",
            buckets=DELAYS,
            registry=registry,
        )
        self._refused = Counter(
            "natscribe_live_frames_refused", "Messages among the frames that are no frames.", registry=registry
        )

    @contextmanager
    def following(self) -> Iterator[Callable[[float], None]]:
        """Measure the lag of one delivery until the block ends: the block calls the yielded function with each lag."""
        delivery = object()  # not the task: this worker may get its next delivery before the last one has ended
        self._lags[delivery] = 0.0

        def behind(seconds: float) -> None:
            if delivery in self._lags:
                self._lags[delivery] = seconds
                self._lag.set(max(self._lags.values()))

        try:
            yield behind
        finally:
            del self._lags[delivery]
            self._lag.set(max(self._lags.values(), default=0.0))

    def final(self, delay_seconds: float) -> None:
        """Note the seconds from the end of an utterance to its final."""
        self._final.observe(delay_seconds)

    def first_partial(self, delay_seconds: float) -> None:
        """Note the seconds from the beginning of an utterance to its first partial."""
        self._partial.observe(delay_seconds)

    def refused(self, frames: int) -> None:
        """Count messages that were published as frames of a task and are none."""
        self._refused.inc(frames)
