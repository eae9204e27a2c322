"""The lease (leader election): the one worker that holds it does the work that must be done by a single worker.

The lease is one message of a Key-Value bucket. Its holder replaces the message every RENEW_EVERY_S by compare-and-set,
and JetStream republishes each stored message to all workers. A worker that has received none for LOST_AFTER_S, on its
own monotonic clock, takes the lease, by compare-and-set as well. So clocks of two machines are never compared, and a
holder that was frozen is fenced: its next renewal is refused.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from time import monotonic
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import APIError, BadRequestError, NoStreamResponseError
from natscribe.jetstream import leader_reads
from natscribe.jetstream.repeated_requests import REQUEST_TIMEOUT_S
from natscribe.schemas.task_queues import UserLoad
from natscribe.schemas.workers import Problem
from pydantic import BaseModel

from app.runtime.cancellation import cancel_all, despite_cancellation
from app.runtime.errors import describe
from app.runtime.supervision import OUTAGE_PAUSE_S, run_forever, wait_up_to
from app.settings import VERSION
from app.storage.jetstream.key_value import FLEET_BUCKET, FULL_CODES, key_value_stream, key_value_subject
from app.storage.jetstream.records import UnreadableError, parse_stored
from app.storage.jetstream.stream_log import EXPECTED_SEQUENCE, WRONG_LAST_SEQUENCE

RENEW_EVERY_S: Final = 1.0
LOST_AFTER_S: Final = 2.5  # without a renewal
MAX_JITTER_S: Final = 0.3  # before a free lease is taken, so that few of many workers try at the same time
CONFIRMED_FOR_S: Final = 0.5  # a renewal younger than this confirms the lease
FAILURES_IN_A_ROW: Final = 3  # of attempts to take the lease: then it counts as unavailable
UNAVAILABLE_FOR_S: Final = 30.0  # how long a worker waits, on average, before it tries to take an unavailable lease
SPREAD: Final = 0.5, 1.5  # of these waits, relative to UNAVAILABLE_FOR_S
FLEET_STREAM: Final = key_value_stream(FLEET_BUCKET)
UNAVAILABLE: Final = "No worker can store the lease ({reason}): each worker checks the streams itself, but rarely"
MAKE_AVAILABLE: Final = (
    f"Give the user of the service the right to publish to {key_value_subject(FLEET_BUCKET, '*')} (docs/access.md), "
    f"and the stream {FLEET_STREAM} room"
)

Duties = Callable[[], Coroutine[object, None, object]]
Confirm = Callable[[], Awaitable[None]]  # raises an error to prevent a change
log = structlog.get_logger()


async def unfenced() -> None:
    """Allow any change: functions that change streams get this as `confirm` if their caller does not hold the lease."""


class LeaseLostError(NatsError):
    """This worker no longer holds the lease, so it must not change anything."""

    def __init__(self) -> None:
        super().__init__("another worker has taken the lease")


class Report(BaseModel):
    """The state of streams and consumers, which the worker that holds the lease reports to all workers.

    `problems`: of the streams and consumers. `is_whole`: whether no stream or consumer is missing or lacks a setting
    that the service needs. `progress_created_at`: when the stream of progress events was created; None: the stream is
    missing.
    """

    problems: list[Problem]
    is_whole: bool
    progress_created_at: str | None


class QueueReport(BaseModel):
    """What the scheduler knows about the task queues: the lease holder, which runs it, reports this to all workers.

    `users`: those with the most waiting audio. `scheduled`: how many tasks of each queue may not start yet, by the
    subject of the queue.
    """

    users: list[UserLoad] = []
    scheduled: dict[str, int] = {}


class LeaseRecord(BaseModel):
    """The payload of the lease message: which worker holds the lease, and what the holder reports to all workers.

    `holder`: the name of the worker that holds the lease; None: it is released. `version`: the version of the service
    that the holder runs. `token`: the fencing token, which is higher for each new holder: the stream sequence of the
    record that the holder replaced when it took the lease.
    """

    holder: str | None
    version: str
    token: int
    report: Report | None = None
    queues: QueueReport = QueueReport()


class Lease:
    """Takes, renews and releases the lease; only the worker that holds it does the work that concerns all workers."""

    def __init__(self, nats: Client, key: str, worker: str, *, on_report: Callable[[Report], None]) -> None:
        """Create a lease; whether a worker holds it is unknown until `open` is called.

        `key`: names the deployment, as several deployments may use the same bucket. `on_report`: called with each
        report of the worker that holds the lease.
        """
        self.report: Report | None = None  # the last known one: of the holder or, after a check, of this worker
        self.queues = QueueReport()  # what this worker reports while it holds the lease
        self.unavailable: Problem | None = None  # why no worker can take the lease
        self.record: LeaseRecord | None = None  # the last stored record
        self._nats = nats
        self._js = nats.jetstream(timeout=REQUEST_TIMEOUT_S)
        self._key = key
        self._subject = key_value_subject(FLEET_BUCKET, key)
        self._worker = worker
        self._on_report = on_report
        self._sequence = 0  # of the last stored record
        self._received_at = 0.0  # when the record was received, if there is one
        self._renewed_at = 0.0  # when the last successful renewal was sent, if this worker has a token
        self._token: int | None = None  # None: this worker does not hold the lease
        self._failures = 0  # of the last attempts to take the lease
        self._is_open = False
        self._changed = asyncio.Event()
        self._storing = asyncio.Lock()

    @property
    def held(self) -> bool:
        """Whether this worker holds the lease."""
        return self._token is not None and monotonic() - self._renewed_at < LOST_AFTER_S

    @property
    def holder(self) -> LeaseRecord | None:
        """The lease record of the worker that holds the lease; None if no worker holds it."""
        is_lost = monotonic() - self._received_at >= LOST_AFTER_S
        return None if is_lost or self.record is None or self.record.holder is None else self.record

    @property
    def _is_free(self) -> bool:
        # A record of this worker may be stored although its acknowledgement was lost.
        return self.holder is None or self.holder.holder == self._worker

    async def open(self) -> None:
        """Subscribe to changes of the lease, and read its current record.

        Raises:
            NatsError: NATS does not answer, or the bucket is missing.
        """
        if not self._is_open:
            await self._nats.subscribe(f"{FLEET_BUCKET}.{self._key}", cb=self._receive)
            self._is_open = True
        await self._read()

    async def run(self, duties: Duties, *, check: Duties) -> None:
        """Take the lease whenever it is free, and run `duties` while this worker holds it, until cancelled.

        `check`: called about every UNAVAILABLE_FOR_S seconds while no worker can take the lease, for example because
        its bucket is missing; it has to create a missing bucket.
        """

        async def hold_next() -> None:
            if self.held or await self._take_next(check):
                await self._hold(duties)

        await run_forever("lease", hold_next, every_s=0, retry_after_s=OUTAGE_PAUSE_S)

    async def take(self) -> bool:
        """Take the lease if it is free; return whether this worker holds it.

        Raises:
            NatsError: NATS does not answer, or refuses to store who holds the lease.
        """
        async with self._storing:
            return self.held or (self._is_free and await self._store(self._worker, self._sequence))

    async def renew(self) -> bool:
        """Renew the lease, with this worker's current report; return whether this worker still holds it.

        Raises:
            NatsError: NATS does not answer, or refuses to store who holds the lease.
        """
        async with self._storing:
            return self._token is not None and await self._store(self._worker, self._token)

    async def confirm(self) -> None:
        """Check that no other worker can hold the lease: call this before each change that only its holder may make.

        While no worker can take the lease (`unavailable`), nothing is checked.

        Raises:
            LeaseLostError: Another worker may hold the lease.
            NatsError: NATS does not answer.
        """
        is_confirmed = self.held and monotonic() - self._renewed_at < CONFIRMED_FOR_S
        if is_confirmed or self.unavailable is not None:
            return
        try:
            is_held = await self.renew()
        except NoStreamResponseError:  # the bucket is missing, and has to be created
            is_held = self.held
        if not is_held:
            raise LeaseLostError

    async def release(self) -> None:
        """Release the lease, so that another worker takes it at once; do nothing if this worker does not hold it."""
        async with self._storing:
            if self.held and self._nats.is_connected:
                with suppress(NatsError):
                    await self._store(None, self._token or 0)
            self._token = None

    async def wait_for_change(self, seconds: float) -> None:
        """Wait until some worker stores a new record of the lease, but at most `seconds` seconds."""
        self._changed.clear()
        await wait_up_to(seconds, self._changed)

    async def _take_next(self, check: Duties) -> bool:
        """Wait until the lease is free, and try to take it; return whether this worker holds it now.

        `check`: called instead of raising the error once FAILURES_IN_A_ROW attempts to take the lease have failed: see
        `run`.

        Raises:
            NatsError: NATS does not answer, or refuses to store who holds the lease.
        """
        while not self._is_free:
            await self.wait_for_change(self._received_at + LOST_AFTER_S - monotonic())
        if self.record is not None:  # otherwise this is the first worker
            await asyncio.sleep(random.uniform(0, MAX_JITTER_S))  # noqa: S311 -- no secret
        try:
            return await self.take()
        except NatsError as error:
            self._failures += 1
            if self._failures < FAILURES_IN_A_ROW:
                raise
            is_full = isinstance(error, APIError) and error.err_code in FULL_CODES
            await self._check_alone(f"the stream {FLEET_STREAM} is full" if is_full else describe(error), check)
            return False

    async def _check_alone(self, reason: str, check: Duties) -> None:
        """Note in `unavailable` that no worker can take the lease, call `check`, and wait before the next attempt.

        The wait ends when the lease changes, or after about UNAVAILABLE_FOR_S seconds. `reason`: why no worker can take
        the lease.

        Raises:
            NatsError: NATS does not answer, so the lease is not the problem.
        """
        before = self.unavailable
        self.unavailable = Problem(what=UNAVAILABLE.format(reason=reason), next_step=MAKE_AVAILABLE)
        try:
            await check()
        except NatsError:
            self.unavailable = before
            raise
        if before is None:
            log.error("lease_unavailable", bucket=FLEET_BUCKET, reason=reason)
        with suppress(NatsError):
            if await self.take():  # the check has restored the bucket
                return
        await self.wait_for_change(UNAVAILABLE_FOR_S * random.uniform(*SPREAD))  # noqa: S311 -- no secret

    async def _hold(self, duties: Duties) -> None:
        """Run `duties` and renew the lease until it is lost; if this call is cancelled, release the lease."""
        log.info("lease_taken", token=self._token)
        working = asyncio.create_task(duties())
        try:
            while self.held and not working.done():
                await self.wait_for_change(max(self._renewed_at + RENEW_EVERY_S - monotonic(), CONFIRMED_FOR_S))
                if monotonic() - self._renewed_at >= RENEW_EVERY_S:
                    with suppress(NatsError):  # the next renewal may succeed
                        await self.renew()
            if working.done():
                working.result()  # raises the error that has ended the duties
        finally:
            await despite_cancellation(self._give_up(working))

    async def _give_up(self, working: asyncio.Task[object]) -> None:
        await cancel_all([working])
        await self.release()
        log.info("lease_given_up")

    async def _store(self, holder: str | None, token: int) -> bool:
        """Replace the record of the lease; return False if another worker has replaced it in the meantime.

        `holder`: the name of this worker; None: release the lease. `token`: the number that identifies this worker's
        term as holder: see `LeaseRecord`.
        """
        record, sent_at = LeaseRecord(holder=holder, version=VERSION, token=token, report=self.report), monotonic()
        if holder is not None:  # no user id stays in the bucket while no worker runs
            record.queues = self.queues
        body, headers = record.model_dump_json().encode(), {EXPECTED_SEQUENCE: str(self._sequence)}
        try:
            sequence = (await self._js.publish(self._subject, body, headers=headers)).seq
        except BadRequestError as error:
            if error.err_code != WRONG_LAST_SEQUENCE:
                raise
            await self._read()
            last = self.record
            # An earlier record of this worker may be stored although its acknowledgement was lost.
            is_own = last is not None and (last.holder, last.token) == (self._worker, token)
            return is_own and await self._store(holder, token)
        if sequence < self._sequence:  # the acknowledgement is late: another record has followed
            return False
        self._note(body, sequence)
        self._token, self._renewed_at = token, sent_at
        return True

    async def _read(self) -> None:
        """Set `record` to the current record of the lease, which the leader of the bucket's stream returns."""
        last = await leader_reads.last_message(self._nats, FLEET_STREAM, self._subject)
        sequence = (last.seq or 0) if last is not None else 0
        if sequence < self._sequence:  # the bucket was recreated
            self.record, self._sequence, self._token = None, 0, None
        if last is not None and sequence > self._sequence:
            self._note(last.data or b"", sequence)

    async def _receive(self, message: Msg) -> None:
        sequence = int((message.headers or {}).get("Nats-Sequence", self._sequence))
        if sequence > self._sequence:
            self._note(message.data, sequence)
        elif sequence < self._sequence:  # the bucket was recreated
            async with self._storing:
                await self._read()

    def _note(self, body: bytes, sequence: int) -> None:
        try:
            self.record = parse_stored(LeaseRecord, body, FLEET_BUCKET)
        except UnreadableError:  # a worker of another version holds the lease
            self.record = LeaseRecord(holder="", version="", token=0)
        self._sequence, self._received_at, self.unavailable, self._failures = sequence, monotonic(), None, 0
        if self.record.holder != self._worker:
            self._token, self.report = None, self.record.report or self.report
        if self.record.report is not None:
            self._on_report(self.record.report)
        self._changed.set()
