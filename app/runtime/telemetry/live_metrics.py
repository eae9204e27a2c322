"""The metrics of live tasks: how far text lags behind audio, and the delays of segments and partial results."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Upper limits of the histograms' buckets, in seconds.
DELAYS = (0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 5, 10, 30)


class LiveMetrics:
    """Creates the metrics of one worker's live tasks, and exposes the largest lag of these tasks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lags: dict[object, float] = {}  # by session: a task may have two, of which one is ending
        self._lag = Gauge(
            "natscribe_live_lag_seconds",
            "Seconds of published audio without text, of the live task with the largest lag.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        delay = partial(Histogram, buckets=DELAYS, registry=registry)
        self.final_delay = delay(
            "natscribe_live_final_delay_seconds", "Seconds from the end of an utterance to its final text."
        )
        self.partial_delay = delay(
            "natscribe_live_partial_delay_seconds",
            "Seconds from the start of an utterance to its first partial result.",
        )
        counter = partial(Counter, registry=registry)
        self.refused_frames = counter(
            "natscribe_live_frames_refused", "Messages on the subjects of frames that are no valid frames."
        )
        self.speakers = counter(
            "natscribe_live_speakers",
            "Speakers of live tasks to whom a published segment was the first one attributed.",
        )
        self.relabelled_seconds = counter(
            "natscribe_live_relabelled_seconds",
            "Seconds of live speech that were published with one speaker, and later attributed to another one.",
        )

    def set_lag(self, session: object, seconds: float | None) -> None:
        """Set the lag of a live session: how many seconds of its stored audio have no text yet; None: it has ended."""
        if seconds is None:
            self._lags.pop(session, None)
        else:
            self._lags[session] = seconds
        self._lag.set(max(self._lags.values(), default=0.0))
