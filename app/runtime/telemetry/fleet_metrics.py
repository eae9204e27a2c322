"""Metrics about all workers and the servers (the fleet), which only the worker that holds the lease measures.

When a worker loses the lease, its values must leave its `/metrics` page: otherwise Prometheus would get its old value
and the new value of another worker. But prometheus_client cannot remove a series that several processes may set. So the
series gets the value NaN, and the page omits such series.
"""

import app.runtime.telemetry.multiprocess  # noqa: F401 -- must be imported before prometheus_client

# isort: split
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.registry import Collector

STORAGE: Final = {
    "used": ("natscribe_jetstream_used_bytes", "Bytes that JetStream occupies on a server.", "storage"),
    "limit": ("natscribe_jetstream_limit_bytes", "Bytes that JetStream may occupy on a server.", "storage"),
    "size": ("natscribe_stream_bytes", "Size of a stream or bucket on a server.", "stream"),
}
RETAINED_S: Final = 60.0  # a server without a reply for this time has left; a busy server may miss one reply


class FleetMetrics:
    """Creates the gauges of the whole fleet, which only the worker that holds the lease sets.

    `set_storage` sets the gauges of JetStream's storage; `Maintenance` and `StreamGuard` set the others.
    """

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._gauges: list[Gauge] = []
        self._replied_at: dict[str, float] = {}  # by the name of the server
        self._storage = {
            kind: self.gauge(name, text, ["server", label]) for kind, (name, text, label) in STORAGE.items()
        }

    def gauge(self, name: str, help_text: str, labels: list[str] | None = None) -> Gauge:
        """Create a gauge that `/metrics` omits until it has a value."""
        gauge = Gauge(name, help_text, labels or [], registry=self._registry, multiprocess_mode="livemostrecent")
        self._gauges.append(gauge)
        _forget(gauge)
        return gauge

    def set_storage(self, servers: Mapping[str, Mapping[str, Mapping[str, int]]]) -> None:
        """Set the storage gauges of NATS servers that have replied; remove the values of servers that have left.

        A server has left if it has not replied for RETAINED_S seconds. `servers`: the number of bytes by server name,
        by the key of the gauge in STORAGE, and by the gauge's last label: the kind of storage, or the name of the
        stream.
        """
        now = self._clock()
        self._replied_at |= dict.fromkeys(servers, now)
        for server in [name for name, replied_at in self._replied_at.items() if now - replied_at >= RETAINED_S]:
            del self._replied_at[server]
        for kind, gauge in self._storage.items():
            _forget(gauge, kept=self._replied_at.keys() - servers)
            for server, stored in servers.items():
                for name, value in stored[kind].items():
                    gauge.labels(server, name).set(value)

    def forget(self) -> None:
        """Remove the values of all gauges, because another worker now holds the lease and measures them."""
        for gauge in self._gauges:
            _forget(gauge)


class NaNFilter(Collector):
    """A collector that omits, from the metrics of another collector, the series that have the value NaN."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics without NaN values; prometheus_client calls this method for each scrape."""
        for metric in self._collector.collect():
            metric.samples = [sample for sample in metric.samples if not math.isnan(sample.value)]
            yield metric


def _forget(gauge: Gauge, *, kept: Collection[str] = ()) -> None:
    """Set all series of a gauge to NaN, except for those of the NATS servers `kept` (label `server`)."""
    for metric in list(gauge.collect()):
        for sample in metric.samples:
            if sample.labels.get("server") not in kept:
                (gauge.labels(**sample.labels) if sample.labels else gauge).set(math.nan)
