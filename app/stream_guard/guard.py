"""The stream guard: notices when a client changes a stream or consumer of the service, and restores it.

The worker that receives the advisory about a change checks everything at once. All workers also check everything every
GUARD_EVERY_S, because an advisory may be lost, or the worker that receives it may be frozen.
"""

import asyncio
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
from app.jetstream.streams import stream_configs
from app.redis_store.projection import RedisProjection
from app.settings import Settings
from app.stream_guard import advisories, provisioning
from app.stream_guard.provisioning import UNKNOWN, Inspection
from app.stream_guard.resources import all_resources
from app.stream_guard.strays import append_strays
from app.supervision import run_forever
from app.telemetry.metrics import Meter

GUARD_EVERY_S: Final = 1.5  # so that a change is noticed within two seconds
SHORTEST_PAUSE_S: Final = 0.1  # between two checks, however many advisories come
ADVISORY_HEAD_START_S: Final = 0.2  # for the worker that knows from the advisory who has changed a stream
STRAYS_FOR_S: Final = 10.0  # how long appends may be on their way that were sent while a stream was changed
RESTORE_EVERY_S: Final = 60.0  # how often the guard repeats a change that NATS has refused
CHANGE_UNANSWERED: Final = "{names} are not as the service needs them, and NATS does not answer the change"
CHECK_RIGHTS: Final = (
    "Search the log of the workers for nats_permission_refused: the service's user may lack a right (docs/access.md)"
)

log = structlog.get_logger()


class StreamGuard:
    """Checks whether all streams, consumers and buckets are as the service needs them, and restores them."""

    def __init__(self, nats: Client, settings: Settings, meter: Meter, projection: RedisProjection) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._settings = settings
        self._meter = meter
        self._projection = projection
        self._names = {resource.name for resource in all_resources(self._js, settings)}
        self._changed_by: dict[str, str] = {}  # the client that has changed a stream or consumer since the last check
        self._changed = asyncio.Event()
        self._last: Inspection | None = None  # the state after the last check
        self._retry_at = 0.0
        self._strays_until = 0.0
        self._unrestored: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        """The problems that the guard could not repair, and the streams that are nearly full."""
        return [*self._unrestored, *(self._last.filled if self._last is not None else [])]

    async def run(self) -> None:
        """Guard the streams, consumers and buckets until cancelled."""
        await self._nats.subscribe(advisories.ADVISORIES, queue=subjects.QUEUE_GROUP, cb=self._receive)
        await run_forever("stream_guard", self._check_and_wait, every_s=SHORTEST_PAUSE_S, retry_after_s=GUARD_EVERY_S)

    async def check(self) -> None:
        """Create missing streams, consumers and buckets, restore changed ones, and note what cannot be restored.

        Nothing else would show that a consumer was deleted: a client that pulls gets no error (faststream#2632).

        Raises:
            NatsError: NATS does not answer.
        """
        changed_by, self._changed_by = self._changed_by, {}
        state, now = await provisioning.inspect_streams(self._js, self._settings), asyncio.get_running_loop().time()
        if self._is_new(state) and not changed_by.keys() & state.broken:
            await asyncio.sleep(ADVISORY_HEAD_START_S)
            state = await provisioning.inspect_streams(self._js, self._settings)
            changed_by |= self._changed_by
        if self._is_new(state) or (state.broken and now >= self._retry_at):
            self._strays_until = now + STRAYS_FOR_S
            state = await self._restore(state, changed_by)
        elif now < self._strays_until:
            for stream in stream_configs(self._settings):
                if stream.name not in state.broken:
                    await append_strays(self._js, stream)
        self._last = state
        if state.progress_created_at is not None:
            self._projection.stream_created_at = state.progress_created_at

    def _is_new(self, state: Inspection) -> bool:
        return not state.is_healthy if self._last is None else state != self._last

    async def _restore(self, before: Inspection, changed_by: Mapping[str, str]) -> Inspection:
        """Provision all streams, consumers and buckets, note the remaining problems, and return the new state.

        `before`: the state before the call. `changed_by`: see `provision`.
        """
        if before.missing:
            clients = sorted({changed_by[name] for name in before.missing if name in changed_by})
            log.error("streams_found_missing", names=before.missing, by=clients or UNKNOWN)
        refused, is_answered = dict[str, Problem](), True
        try:
            refused = (await provisioning.provision(self._js, self._settings, changed_by)).problems
        except provisioning.StreamError as error:
            log.error("streams_not_created", reason=str(error))  # noqa: TRY400 -- the reason needs no traceback
            refused = {error.resource: error.problem}
        except NatsError as error:
            log.warning("work_interrupted", work="stream_guard", error=describe(error))
            is_answered = False
        after = await provisioning.inspect_streams(self._js, self._settings)
        problems = [problem for name, problem in refused.items() if name in after.broken]
        if after.broken and not is_answered:
            what = CHANGE_UNANSWERED.format(names=", ".join(sorted(after.broken)))
            problems.append(Problem(what=what, next_step=CHECK_RIGHTS))
        self._unrestored = [*problems, *after.paused]
        # Without a refusal, a client has broken something again in the meantime: the next check restores it.
        self._retry_at = asyncio.get_running_loop().time() + (RESTORE_EVERY_S if refused else 0.0)
        self._meter.broken_streams.set(len(self._unrestored))
        self._meter.restored_streams.inc(len(before.broken - after.broken))
        return after

    async def _check_and_wait(self) -> None:
        self._changed.clear()
        await self.check()
        with suppress(TimeoutError):
            async with asyncio.timeout(GUARD_EVERY_S - SHORTEST_PAUSE_S):
                await self._changed.wait()

    async def _receive(self, advisory: Msg) -> None:
        """Log a change that NATS has refused; after any other change, have `run` check everything at once."""
        change = advisories.read(advisory.data)
        if change is None or change.resource not in self._names:
            return
        if change.refusal is None:
            self._changed_by[change.resource] = change.client
            self._changed.set()
        else:
            log.warning(
                "stream_change_refused",
                of=change.resource,
                by=change.client,
                reason=change.refusal,
                see="docs/faststream.md",
            )
