"""The stream guard: notices when a client changes a stream or consumer of the service, and restores its settings.

Only the worker that holds the lease does this: it receives JetStream's advisories, which report changes, and checks all
streams and consumers at once after a change. It also checks them every GUARD_EVERY_S, because an advisory may be lost.
Before each change it confirms that it holds the lease. The other workers receive its report.
"""

import asyncio
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from natscribe.schemas.workers import Problem

from app.fleet.stream_guard import provisioning
from app.fleet.stream_guard.provisioning import Inspection
from app.fleet.stream_guard.resources import all_resources
from app.fleet.stream_guard.strays import append_strays
from app.runtime.errors import describe
from app.runtime.supervision import run_forever, wait_up_to
from app.runtime.telemetry.metrics import Meter
from app.settings import Settings
from app.storage.jetstream.lease import FLEET_STREAM, Lease, LeaseLostError, Report
from app.storage.jetstream.streams import stream_configs

GUARD_EVERY_S: Final = 5.0  # advisories come first
GUARD_AFTER_CHANGE_EVERY_S: Final = 1.5  # for STRAYS_FOR_S after a change
SHORTEST_PAUSE_S: Final = 0.1  # between two checks, however many advisories come
CREATED_WITHIN_S: Final = 5.0  # how long a starting worker waits for the holder of the lease to create the streams
STRAYS_FOR_S: Final = 10.0  # how long appends may be on their way that were sent while a stream was changed
RESTORE_EVERY_S: Final = 60.0  # how often the guard repeats a change that NATS has refused
UNFENCED: Final = "{names} are not as the service needs them, and no worker changes them without the lease"
CHANGE_UNANSWERED: Final = "{names} are not as the service needs them, and NATS does not answer the change"
NO_HOLDER: Final = "No worker has the lease of fleet-wide duties at the moment, so nobody checks the streams"
WAIT: Final = "Wait ten seconds: another worker takes the lease. If this problem stays, read the log of the workers"
CHECK_RIGHTS: Final = (
    "Search the log of the workers for nats_permission_refused: the service's user may lack a right (docs/access.md)"
)
ADVISORIES: Final = "$JS.EVENT.ADVISORY.API"  # one message for each request to JetStream, except for successful reads
# Requests that change a stream or consumer: most advisories are about reads.
_CHANGE: Final = re.compile(
    rb'"subject":"\$JS\.API\.(?:STREAM\.(?:CREATE|UPDATE|DELETE)\.([^".]+)'
    rb'|CONSUMER\.(?:CREATE|DURABLE\.CREATE|DELETE|PAUSE)\.[^".]+\.([^".]+))'
)

log = structlog.get_logger()


class StreamGuard:
    """Creates missing streams, consumers and buckets of the service, and restores those whose settings were changed."""

    def __init__(self, nats: Client, settings: Settings, meter: Meter, lease: Lease) -> None:
        self._nats = nats
        self._js = nats.jetstream()
        self._settings = settings
        self._meter = meter
        self._lease = lease
        self._names = {resource.name for resource in all_resources(self._js, settings)}
        self._changed = asyncio.Event()
        self._last: Inspection | None = None  # the state after the last check
        self._retry_at = 0.0
        self._strays_until = 0.0
        self._unrestored: list[Problem] = []

    @property
    def problems(self) -> list[Problem]:
        """What operators must repair: streams that cannot be restored or are nearly full, a lease without a holder."""
        report, unavailable = self._lease.report, self._lease.unavailable
        if unavailable is None and self._lease.holder is None:
            unavailable = Problem(what=NO_HOLDER, next_step=WAIT)
        return [*filter(None, [unavailable]), *(report.problems if report is not None else [])]

    @property
    def are_streams_whole(self) -> bool:
        """Whether the last check found all streams, consumers and buckets with the settings that the service needs.

        Paused consumers are no reason for False: new workers have to become ready even while an operator has paused
        tasks.
        """
        return self._lease.report is not None and self._lease.report.is_whole

    async def start(self) -> tuple[Inspection, Collection[str]]:
        """Wait until all streams, consumers and buckets exist; return their state, and which were missing at first.

        If some are missing or changed and no worker holds the lease, this worker takes the lease, creates the missing
        ones and restores the others. If another worker holds the lease, this worker waits up to CREATED_WITHIN_S for it
        to create them. Then it creates those that are still missing, for example because the holder is of another
        version or has other settings. If no worker can take the lease, this worker creates the missing ones at once.

        Raises:
            NatsError: NATS does not answer.
            StreamError: NATS refuses to create a stream or consumer.
        """
        state = await provisioning.inspect_streams(self._js, self._settings)
        new = set(state.missing)
        await provisioning.provision(self._js, self._settings, names={FLEET_STREAM} & new)
        await self._lease.open()
        if state.broken:
            with suppress(NatsError):  # `Lease.run` reports an unavailable lease
                await self._lease.take()
        if self._lease.held:
            await provisioning.provision(self._js, self._settings, confirm=self._lease.confirm)
            return await provisioning.inspect_streams(self._js, self._settings), new
        deadline = asyncio.get_running_loop().time() + CREATED_WITHIN_S
        while state.missing and self._lease.holder and (left := deadline - asyncio.get_running_loop().time()) > 0:
            await self._lease.wait_for_change(left)
            state = await provisioning.inspect_streams(self._js, self._settings)
        if state.missing:
            await provisioning.provision(self._js, self._settings, names=state.missing)
            state = await provisioning.inspect_streams(self._js, self._settings)
        for difference in state.differences:
            provisioning.log_difference(difference)
        return state, new

    async def run(self) -> None:
        """Check and restore the streams, consumers and buckets, again and again until cancelled.

        A check takes place at least every GUARD_EVERY_S, and at once after a client has changed one of them.
        """
        advisory_inbox = await self._nats.subscribe(ADVISORIES, cb=self._receive)
        try:
            await run_forever(
                "stream_guard", self._check_and_wait, every_s=SHORTEST_PAUSE_S, retry_after_s=GUARD_EVERY_S
            )
        finally:
            with suppress(NatsError):
                await advisory_inbox.unsubscribe()

    async def check(self) -> None:
        """Create missing streams, consumers and buckets, restore changed ones, and record what cannot be restored.

        A deleted consumer is found only by such a check: a client that pulls from it gets no error (faststream#2632).

        Raises:
            NatsError: NATS does not answer.
        """
        state, now = await provisioning.inspect_streams(self._js, self._settings), asyncio.get_running_loop().time()
        is_new = state != self._last if self._last is not None else not state.is_healthy
        if is_new or (state.broken and now >= self._retry_at):
            self._strays_until = now + STRAYS_FOR_S
            state = await self._restore(state)
        elif now < self._strays_until and self._lease.held:
            for stream in stream_configs(self._settings):
                if stream.name not in state.broken:
                    await append_strays(self._js, stream, confirm=self._lease.confirm)
        self._last = state
        await self._report(state)

    async def _report(self, state: Inspection) -> None:
        """Replace this worker's report by the state after a check.

        If this worker holds the lease, and the report has changed, send it to all workers.
        """
        report = Report(
            problems=[*self._unrestored, *state.filled],
            is_whole=not state.broken,
            progress_created_at=state.progress_created_at,
        )
        is_new, self._lease.report = report != self._lease.report, report
        if self._lease.held:
            self._meter.broken_streams.set(len(self._unrestored))  # only the holder: see the alert NoLeaseHolder
            if is_new:
                await self._lease.renew()

    async def _restore(self, before: Inspection) -> Inspection:
        """Create and restore streams, consumers and buckets, record the remaining problems, and return the new state.

        `before`: the state before the call.
        """
        if before.missing:
            log.error("streams_found_missing", names=before.missing)
        refused, obstacle = await self._provision(before.missing)
        after = await provisioning.inspect_streams(self._js, self._settings)
        problems = [problem for name, problem in refused.items() if name in after.broken]
        if after.broken and obstacle is not None:
            what = obstacle.format(names=", ".join(sorted(after.broken)))
            problems.append(Problem(what=what, next_step=CHECK_RIGHTS))
        self._unrestored = [*problems, *after.paused]
        # What is broken without a refusal, a client has broken in the meantime: the next check restores it.
        wait = RESTORE_EVERY_S if after.broken <= refused.keys() else 0.0
        self._retry_at = asyncio.get_running_loop().time() + wait
        self._meter.restored_streams.inc(len(before.broken - after.broken))
        return after

    async def _provision(self, missing: Collection[str]) -> tuple[Mapping[str, Problem], str | None]:
        """Create and restore streams, consumers and buckets.

        If no worker can take the lease, only those in `missing` and the stream of the lease's bucket are created and
        restored.

        Return the changes that NATS has refused, by the name of the stream or consumer, and a text about anything else
        that has prevented changes; None: nothing else has.
        """
        # Without a lease, workers of two versions would undo each other's changes, except for those of its bucket.
        fenced, confirm = self._lease.unavailable is None, self._lease.confirm
        names, obstacle = (None, None) if fenced else ({*missing, FLEET_STREAM}, UNFENCED)
        try:
            refused = await provisioning.provision(self._js, self._settings, confirm=confirm, names=names)
        except provisioning.StreamError as error:
            log.error("streams_not_created", reason=str(error))  # noqa: TRY400 -- the reason needs no traceback
            refused = {error.resource: error.problem}
        except LeaseLostError:
            raise
        except NatsError as error:
            log.warning("work_interrupted", work="stream_guard", error=describe(error))
            return {}, obstacle or CHANGE_UNANSWERED
        return refused, obstacle

    async def _check_and_wait(self) -> None:
        self._changed.clear()
        await self.check()
        is_quiet = asyncio.get_running_loop().time() >= self._strays_until
        every_s = GUARD_EVERY_S if is_quiet else GUARD_AFTER_CHANGE_EVERY_S
        await wait_up_to(every_s - SHORTEST_PAUSE_S, self._changed)

    async def _receive(self, advisory: Msg) -> None:
        if changed_resource(advisory.data) in self._names:
            self._changed.set()


def changed_resource(advisory: bytes) -> str | None:
    """Return the stream or consumer that a client has requested to change, as an advisory of JetStream reports it.

    Return None if the request was another one.
    """
    change = _CHANGE.search(advisory)
    return None if change is None else (change[1] or change[2]).decode(errors="replace")
