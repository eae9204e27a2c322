"""The stream watch: notices when somebody changes a stream or consumer of the service, and has it put back.

The worker that receives the advisory about a change checks everything at once. All workers check everything every
GUARD_EVERY_S, too, because an advisory may be lost, or the worker that receives it may be frozen.
"""

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.schemas import subjects
from natscribe.schemas.workers import Problem

from app.errors import describe
from app.jetstream import streams
from app.redis_store.projection import RedisProjection
from app.settings import Settings
from app.stream_guard import advisories, provisioning
from app.stream_guard.provisioning import Inspection
from app.stream_guard.restoration import UNKNOWN
from app.supervision import run_forever
from app.telemetry.metrics import Meter

GUARD_EVERY_S: Final = 1.5  # so a change is noticed within two seconds
SHORTEST_PAUSE_S: Final = 0.1  # between two checks, however many advisories come
ADVISORY_HEAD_START_S: Final = 0.2  # for the worker that receives the advisory, and so knows who has changed a stream
SETTLED_AFTER_S: Final = 10.0  # in which appends end that were on their way while a stream was changed
RESTORE_EVERY_S: Final = 60.0  # how often a change is tried again that NATS has refused
TELL_EVERY_S: Final = 60.0  # how often the same refused change is logged
TOLD_AT_MOST: Final = 1000  # refused changes that are remembered
CHANGE_UNANSWERED: Final = "{names} are not as the service needs them, and NATS does not answer the change"
SEE_RIGHTS: Final = (
    "Look for nats_permission_refused in the log of the workers: the service's user may lack a right (docs/access.md)"
)

log = structlog.get_logger()


class StreamGuard:
    """Checks whether all streams, consumers and buckets exist and are as the service needs them, and mends them."""

    def __init__(self, nats: Client, settings: Settings, meter: Meter, projection: RedisProjection) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._settings = settings
        self._meter = meter
        self._projection = projection
        self._names = {str(stream.name) for stream in streams.all_stream_configs(settings)}
        self._names |= {str(consumer.durable_name) for _, consumer in streams.consumer_configs(settings)}
        self._changed_by: dict[str, str] = {}  # the clients that have changed something since the last check
        self._changed = asyncio.Event()
        self._told: dict[tuple[str, str], float] = {}  # when a refused change of this stream by this client was logged
        self._seen: Inspection | None = None  # what the last check has left
        self._retry_at = 0.0
        self._settled_at = 0.0
        self._unmended: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        """What is wrong and could not be mended, and which streams are nearly full."""
        return [*self._unmended, *(self._seen.filled if self._seen is not None else [])]

    async def run(self) -> None:
        """Watch the streams, consumers and buckets until cancelled."""
        await self._nats.subscribe(advisories.ADVISORIES, queue=subjects.QUEUE_GROUP, cb=self._note)
        await run_forever("stream_guard", self._check_and_wait, every_s=SHORTEST_PAUSE_S, retry_after_s=GUARD_EVERY_S)

    async def check(self) -> None:
        """Create what is missing, put back what was changed, and note what cannot be mended.

        Nothing else would show that a consumer was deleted: a client that pulls gets no error (faststream#2632).

        Raises:
            NatsError: NATS does not answer.
        """
        changed_by, self._changed_by = self._changed_by, {}
        findings, now = await provisioning.inspect_streams(self._js, self._settings), asyncio.get_running_loop().time()
        if self._is_new(findings) and not changed_by.keys() & findings.broken:
            await asyncio.sleep(ADVISORY_HEAD_START_S)
            findings = await provisioning.inspect_streams(self._js, self._settings)
            changed_by |= self._changed_by
        if self._is_new(findings) or (findings.broken and now >= self._retry_at):
            self._settled_at = now + SETTLED_AFTER_S
            findings = await self._mend(findings, changed_by)
        elif now < self._settled_at:
            await provisioning.append_all_strays(self._js, self._settings)
        self._seen = findings
        if findings.progress_stream_created_at is not None:
            self._projection.stream_created_at = findings.progress_stream_created_at

    def _is_new(self, findings: Inspection) -> bool:
        return not findings.sound if self._seen is None else findings != self._seen

    async def _mend(self, before: Inspection, changed_by: Mapping[str, str]) -> Inspection:
        """Provision everything, note what could not be mended, and return the findings after that."""
        if before.missing:
            who = sorted({changed_by[name] for name in before.missing if name in changed_by})
            log.error("streams_found_missing", names=before.missing, by=who or UNKNOWN)
        refused, unanswered = await self._provision(changed_by)
        after = await provisioning.inspect_streams(self._js, self._settings)
        problems = [problem for name, problem in refused.items() if name in after.broken]
        if unanswered and after.broken:
            what = CHANGE_UNANSWERED.format(names=", ".join(sorted(after.broken)))
            problems.append(Problem(what=what, next_step=SEE_RIGHTS))
        self._unmended = [*problems, *after.paused]
        # Without a refusal, what is broken was changed again meanwhile: the next check mends it.
        self._retry_at = asyncio.get_running_loop().time() + (RESTORE_EVERY_S if refused else 0.0)
        self._meter.broken_streams.set(len(self._unmended))
        self._meter.restored_streams.inc(len(before.broken - after.broken))
        return after

    async def _provision(self, changed_by: Mapping[str, str]) -> tuple[Mapping[str, Problem], bool]:
        """Provision everything; return what NATS refuses, and whether NATS has left a request unanswered."""
        try:
            return (await provisioning.provision(self._js, self._settings, changed_by)).problems, False
        except provisioning.StreamError as error:
            log.error("streams_not_made", reason=str(error))  # noqa: TRY400 -- the reason needs no traceback
            return {error.of: error.problem}, False
        except NatsError as error:
            log.warning("work_interrupted", work="stream_guard", error=describe(error))
            return {}, True

    async def _check_and_wait(self) -> None:
        self._changed.clear()
        await self.check()
        with suppress(TimeoutError):
            async with asyncio.timeout(GUARD_EVERY_S - SHORTEST_PAUSE_S):
                await self._changed.wait()

    async def _note(self, advisory: Msg) -> None:
        """Log a change that NATS has refused; after any other change, have `run` check everything at once."""
        change = advisories.read(advisory.data)
        if change is None or change.of not in self._names:
            return
        if change.refusal is None:
            self._changed_by[change.of] = change.by
            self._changed.set()
            return
        now, key = asyncio.get_running_loop().time(), (change.of, change.by)
        if now - self._told.get(key, -math.inf) >= TELL_EVERY_S:
            if len(self._told) >= TOLD_AT_MOST:
                self._told.clear()
            self._told[key] = now
            log.warning(
                "stream_change_refused", of=change.of, by=change.by, reason=change.refusal, see="docs/faststream.md"
            )
