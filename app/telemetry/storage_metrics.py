"""Metrics of JetStream's storage on each server that replies.

A gauge would retain the last figures of a server that has left the cluster, and prometheus_client cannot remove a gauge
that several processes set. So this collector creates its metrics for each scrape, from what its process has read.
"""

import app.telemetry.multiprocess  # noqa: F401 -- must be imported before prometheus_client

# isort: split
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

KEPT_S: Final = 60.0  # a server without a reply for this time has left; a busy server may miss one reply


@dataclass(frozen=True, slots=True)
class Stored:
    """The bytes that one server uses and may use of `disk` and of `memory`, and the bytes of each stream."""

    used: Mapping[str, int]
    limits: Mapping[str, int]
    streams: Mapping[str, int]  # a bucket is the stream OBJ_<bucket>


class StorageMetrics(Collector):
    """The metrics of the servers that have replied within the last KEPT_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._servers: dict[str, tuple[float, Stored]] = {}

    def update(self, server: str, stored: Stored) -> None:
        """Set the figures of one server."""
        self._servers[server] = self._clock(), stored

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics; the library calls this method for each scrape."""
        used = _gauge("natscribe_jetstream_used_bytes", "Bytes that JetStream occupies on a server.", "storage")
        limit = _gauge("natscribe_jetstream_limit_bytes", "Bytes that JetStream may occupy on a server.", "storage")
        size = _gauge("natscribe_stream_bytes", "Size of a stream or bucket on a server.", "stream")
        oldest = self._clock() - KEPT_S
        self._servers = {name: entry for name, entry in self._servers.items() if entry[0] > oldest}
        for server, (_, stored) in self._servers.items():
            for gauge, figures in ((used, stored.used), (limit, stored.limits), (size, stored.streams)):
                for name, value in figures.items():
                    gauge.add_metric([server, name], value)
        yield from (used, limit, size)


def _gauge(name: str, help_text: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, labels=["server", label])
