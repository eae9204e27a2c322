"""Describes this worker to programs that discover services on NATS (ADR-32), and counts its requests."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from natscribe.schemas.channels import SERVICE, Channel
from natscribe.schemas.services import Endpoint, EndpointStats, ServiceInfo, ServicePing, ServiceStats, Verb

from app.runtime.errors import RequestError
from app.settings import VERSION
from app.storage.jetstream.channels import CHANNELS

ENDPOINTS = [channel for channel in CHANNELS if channel.replies and channel.messages and channel.publishers != SERVICE]


@dataclass
class _Counts:
    num_requests: int = 0
    num_errors: int = 0
    last_error: str = ""
    processing_time: int = 0  # in nanoseconds


class ServiceInstance:
    """This worker as an instance of a NATS service, whose endpoints are the requests of clients."""

    def __init__(self, worker: str) -> None:
        self.id = uuid4().hex
        self.replies = {Verb.PING: self.ping, Verb.INFO: self.info, Verb.STATS: self.stats}
        self._metadata = {"worker": worker}
        self._started = datetime.now(UTC)
        self._counts: defaultdict[str, _Counts] = defaultdict(_Counts)  # by subject

    @contextmanager
    def count(self, subject: str) -> Iterator[None]:
        """Count the request that the `with` block handles; a client sees the code or type of its error, no message."""
        counts, started = self._counts[subject], time.perf_counter_ns()
        counts.num_requests += 1
        try:
            yield
        except Exception as error:
            counts.num_errors += 1
            counts.last_error = error.detail.code if isinstance(error, RequestError) else type(error).__name__
            raise
        finally:
            counts.processing_time += time.perf_counter_ns() - started

    async def ping(self) -> ServicePing:
        """Return that this worker is there."""
        return ServicePing(id=self.id, version=VERSION, metadata=self._metadata)

    async def info(self) -> ServiceInfo:
        """Return which requests this worker handles."""
        endpoints = [Endpoint(**_endpoint(channel)) for channel in ENDPOINTS]
        return ServiceInfo(id=self.id, version=VERSION, metadata=self._metadata, endpoints=endpoints)

    async def stats(self) -> ServiceStats:
        """Return how many requests this worker has handled."""
        return ServiceStats(
            id=self.id,
            version=VERSION,
            metadata=self._metadata,
            started=self._started,
            endpoints=[self._stats(channel) for channel in ENDPOINTS],
        )

    def _stats(self, channel: Channel) -> EndpointStats:
        counts = self._counts[channel.subject]
        average = counts.processing_time // max(counts.num_requests, 1)
        return EndpointStats(**_endpoint(channel), **vars(counts), average_processing_time=average)


def _endpoint(channel: Channel) -> dict[str, str]:
    return {"name": channel.operation, "subject": channel.subject, "queue_group": channel.group}
