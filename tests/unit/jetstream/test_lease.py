"""The lease: taken, renewed and released by compare-and-set, whatever replies are lost."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError, ServiceUnavailableError
from natscribe.schemas.task_queues import UserLoad
from natscribe.schemas.workers import Problem
from structlog.testing import capture_logs

from app.runtime.cancellation import cancel_all
from app.storage.jetstream import lease
from app.storage.jetstream.lease import Lease, LeaseLostError, QueueReport, Report
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.waiting import eventually

BUCKET, KEY = "KV_fleet", "$KV.fleet.transcription"
REPORT = Report(
    problems=[Problem(what="It is broken", next_step="Repair it")], is_whole=False, progress_created_at="now"
)


class Reports(list[Report]):
    """The reports that a worker has received."""


async def joined(nats: InMemoryNats, worker: str, reports: Reports | None = None) -> Lease:
    """The lease of a worker that has read the last record."""
    lease_of_worker = Lease(
        nats.client, "transcription", worker, on_report=(Reports() if reports is None else reports).append
    )
    await lease_of_worker.open()
    return lease_of_worker


def advance_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(lease, "monotonic", lambda: monotonic() + seconds)


async def once(_: str, work: Callable[[], Awaitable[None]], **_pauses: float) -> None:
    """Run work once, where the service repeats it."""
    await work()


def lose_reply(nats: InMemoryNats) -> None:
    nats.after(KEY, NatsTimeoutError())


async def test_one_of_two_workers_takes_the_lease(nats: InMemoryNats) -> None:
    # Given two workers that know of no holder
    first, second = [await joined(nats, name) for name in ("first", "second")]
    # When both try to take the lease, then one of them has it
    assert [await first.take(), await second.take()] == [True, False]
    assert [first.held, second.held] == [True, False]
    # And both know the holder
    assert [worker.holder and worker.holder.holder for worker in (first, second)] == ["first", "first"]


async def test_all_workers_know_the_queues_as_the_holder_reports_them(nats: InMemoryNats) -> None:
    # Given a holder that reports a user and scheduled tasks
    first, second = [await joined(nats, name) for name in ("first", "second")]
    load = UserLoad(user_id="anna", waiting=1, running=0, waiting_seconds=5)
    first.queues = QueueReport(users=[load], scheduled={"tasks.live.high": 3})
    assert await first.take()
    # Then both workers know it
    await second.open()
    assert [worker.holder and worker.holder.queues for worker in (first, second)] == 2 * [first.queues]
    # And nothing of it stays when the lease is released
    await first.release()
    await second.open()
    assert second.record is not None
    assert second.record.queues == QueueReport()


async def test_a_lease_without_renewal_is_taken_and_its_holder_is_fenced(
    nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a holder that does not renew the lease
    first, second = [await joined(nats, name) for name in ("first", "second")]
    assert await first.take()
    assert not await second.take()
    # When the time is over, then another worker takes it, with a larger token
    advance_clock(monkeypatch, lease.LOST_AFTER_S)
    await deliver_record(nats)  # a repetition is no renewal
    assert not first.held
    assert second.holder is None
    assert await second.take()
    assert second.record is not None
    assert second.record.token == 1
    # And the former holder can neither confirm nor renew nor release it
    with pytest.raises(LeaseLostError):
        await first.confirm()
    assert not await first.renew()
    await first.release()
    assert await second.renew()
    # And the record keeps the token when the lease is released
    await second.release()
    released = (await joined(nats, "third")).record
    assert released is not None
    assert (released.holder, released.token) == (None, 1)


async def test_a_lost_acknowledgement_costs_no_lease(nats: InMemoryNats) -> None:
    # Given a holder whose renewal was stored, and not acknowledged
    first = await joined(nats, "first")
    lose_reply(nats)
    with pytest.raises(NatsTimeoutError):
        await first.take()
    # When it tries again, then it has the lease
    assert await first.take()
    lose_reply(nats)
    with pytest.raises(NatsTimeoutError):
        await first.renew()
    assert await first.renew()
    # And it releases the lease after such a renewal, too
    lose_reply(nats)
    with pytest.raises(NatsTimeoutError):
        await first.renew()
    await first.release()
    assert await (await joined(nats, "second")).take()


async def deliver_record(nats: InMemoryNats) -> None:
    """Deliver the stored record to the workers, as JetStream does when it has stored it."""
    last = nats.streams[BUCKET].messages[-1]
    await nats.publish("fleet.transcription", last.body, headers={"Nats-Sequence": str(last.sequence)})


async def test_a_worker_whose_acknowledgement_was_lost_takes_the_lease_at_once(nats: InMemoryNats) -> None:
    # Given a worker that receives its own record, and not the acknowledgement
    first, second = [await joined(nats, name) for name in ("first", "second")]
    lose_reply(nats)
    with pytest.raises(NatsTimeoutError):
        await first.take()
    await deliver_record(nats)
    # Then it can take the lease, and others cannot
    assert not await second.take()
    assert await first.take()


async def test_a_holder_receives_its_record_before_the_acknowledgement(nats: InMemoryNats) -> None:
    first = await joined(nats, "first")
    nats.after(KEY, lambda: deliver_record(nats))
    assert await first.take()
    assert first.held


async def test_an_acknowledgement_behind_the_record_of_another_holder_gives_no_lease(nats: InMemoryNats) -> None:
    # Given a worker whose record another worker replaces before the acknowledgement arrives
    first = await joined(nats, "first")

    async def replace() -> None:
        await nats.publish(KEY, b'{"holder": "second", "version": "1", "token": 1}')
        await deliver_record(nats)

    nats.after(KEY, replace)
    # When the worker takes the lease, then the other one holds it
    assert not await first.take()
    assert not first.held
    assert first.holder is not None
    assert first.holder.holder == "second"


async def test_followers_adopt_the_lease_of_a_recreated_bucket(nats: InMemoryNats) -> None:
    # Given a follower that has received several records
    first, second = [await joined(nats, name) for name in ("first", "second")]
    assert await first.take()
    assert await first.renew()
    await deliver_record(nats)
    # When the bucket is recreated, and another worker takes the lease
    bucket = nats.streams[BUCKET]
    bucket.messages.clear()
    bucket.last_sequence = 0
    third = await joined(nats, "third")
    assert await third.take()
    await deliver_record(nats)
    # Then the others know the new holder, and the former one is fenced
    assert [worker.holder and worker.holder.holder for worker in (first, second)] == ["third", "third"]
    assert not first.held


async def test_a_new_holder_keeps_the_report_of_the_former_one(
    nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a holder that has reported, and dies
    first, second = [await joined(nats, name) for name in ("first", "second")]
    first.report = REPORT
    assert await first.take()
    assert not await second.take()
    advance_clock(monkeypatch, lease.LOST_AFTER_S)
    # When another worker takes the lease and has checked nothing yet, then its record has the report
    assert await second.take()
    assert [second.report, (await joined(nats, "third")).report] == [REPORT, REPORT]


async def test_a_young_renewal_confirms_the_lease(nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await joined(nats, "first")
    assert await first.take()
    nats.requests.clear()
    await first.confirm()
    assert nats.requests == []
    advance_clock(monkeypatch, lease.CONFIRMED_FOR_S)
    await first.confirm()
    assert nats.requests == [KEY]


async def test_a_holder_may_create_the_bucket_again(nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a holder whose bucket was deleted
    first = await joined(nats, "first")
    assert await first.take()
    stream = nats.streams.pop(BUCKET)
    advance_clock(monkeypatch, lease.CONFIRMED_FOR_S)
    # Then it may change streams, which creates the bucket
    await first.confirm()
    with pytest.raises(NoStreamResponseError):
        await first.renew()
    # And in the new bucket it has to take the lease again
    stream.messages.clear()
    nats.streams[BUCKET] = stream
    assert not await first.renew()
    assert await first.take()


async def test_a_report_reaches_the_others_with_the_lease(nats: InMemoryNats) -> None:
    first = await joined(nats, "first")
    first.report = REPORT
    assert await first.take()
    reports = Reports()
    await joined(nats, "second", reports)
    assert reports == [REPORT]


async def test_a_record_of_another_version_counts_as_held(nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a record that only a later version can read
    await nats.jetstream().publish(KEY, b'{"holder": ["later"]}')
    first = await joined(nats, "first")
    # Then its holder is respected as long as it renews the lease
    assert not await first.take()
    advance_clock(monkeypatch, lease.LOST_AFTER_S)
    assert await first.take()


async def test_a_follower_waits_until_the_lease_is_lost(
    nats: InMemoryNats, constants: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a holder that has just renewed the lease, and then dies
    constants(MAX_JITTER_S=0.0)
    monkeypatch.setattr(lease, "run_forever", once)
    first, second = [await joined(nats, name) for name in ("first", "second")]
    assert await first.take()
    await deliver_record(nats)
    waits, duties = list[float](), list[bool]()

    async def wait(_: Lease, seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)
        advance_clock(monkeypatch, lease.LOST_AFTER_S)

    async def work() -> None:
        duties.append(second.held)

    monkeypatch.setattr(Lease, "wait_for_change", wait)
    # When a follower runs, then it waits as long as the record counts, and takes the lease
    await second.run(work, check=work)
    assert duties == [True]
    assert waits[0] == pytest.approx(lease.LOST_AFTER_S, rel=0.2)


async def test_a_holder_renews_the_lease_in_time_however_often_it_is_woken(
    nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a holder whose pauses end early, by these seconds of its clock
    first, now, waits, passing = await joined(nats, "first"), 100.0, list[float](), iter([0.3, 0.7, 0.8, 0.5])

    async def wait(_: Lease, seconds: float) -> None:
        nonlocal now
        waits.append(seconds)
        passed = next(passing, None)
        if passed is None:
            await asyncio.Event().wait()
        else:
            now += passed

    monkeypatch.setattr(lease, "monotonic", lambda: now)
    monkeypatch.setattr(Lease, "wait_for_change", wait)
    # When it holds the lease, then each pause is what is left of a second, but long enough for a change
    running = asyncio.create_task(first.run(asyncio.Event().wait, check=asyncio.Event().wait))
    await eventually(lambda: len(waits) == 5)
    await cancel_all([running])
    assert waits == pytest.approx([1, 0.7, 1, 0.5, 1])
    # And it renews the lease after each second
    assert nats.requests.count(KEY) == 3 + 1  # taken, renewed twice, and released


async def test_a_lease_that_cannot_be_stored_is_reported_and_the_worker_checks_for_itself(
    nats: InMemoryNats, constants: Constants
) -> None:
    # Given a user without the right to store the lease: NATS does not reply
    constants(OUTAGE_PAUSE_S=0.0, UNAVAILABLE_FOR_S=0.01)
    first, checks, duties = await joined(nats, "first"), list[object](), list[object]()
    nats.before(KEY, *[NatsTimeoutError()] * 9)

    async def check() -> None:
        checks.append(first.unavailable)

    async def work() -> None:
        duties.append(None)
        await asyncio.Event().wait()

    running: asyncio.Task[Any] = asyncio.create_task(first.run(work, check=check))
    # Then the worker checks for itself a few times, and reports it, once in the log
    with capture_logs() as lines:
        await eventually(lambda: len(checks) >= 3)
    assert [line["event"] for line in lines].count("lease_unavailable") == 1
    assert all(isinstance(problem, Problem) and "$KV.fleet.*" in problem.next_step for problem in checks)
    # And when it has the right, then it takes the lease, and does all duties
    await eventually(lambda: bool(duties))
    assert first.unavailable is None
    await cancel_all([running])
    assert not first.held


async def test_a_full_bucket_is_the_reason_and_failures_before_another_holder_do_not_count(
    nats: InMemoryNats, constants: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants(UNAVAILABLE_FOR_S=0.01, MAX_JITTER_S=0.0)
    monkeypatch.setattr(lease, "run_forever", once)
    first, second = [await joined(nats, name) for name in ("first", "second")]
    full = [ServiceUnavailableError(code=503, err_code=10077, description="maximum bytes exceeded") for _ in range(5)]

    async def check() -> None:
        reasons.append(first.unavailable)

    # Given a worker that has failed twice before another one has the lease and releases it
    reasons = list[Problem | None]()
    nats.before(KEY, *full[:2])
    for _ in full[:2]:
        with pytest.raises(ServiceUnavailableError):
            await first.run(check, check=check)
    assert await second.take()
    await second.release()
    await deliver_record(nats)
    # When it fails again, then it counts from the start
    nats.before(KEY, *full[2:])
    for _ in range(2):
        with pytest.raises(ServiceUnavailableError):
            await first.run(check, check=check)
    assert reasons == []
    # And after three failures it reports the reason
    await first.run(check, check=check)
    assert reasons[0] is not None
    assert "(the stream KV_fleet is full)" in reasons[0].what


async def test_the_first_worker_takes_the_lease_at_once(
    nats: InMemoryNats, constants: Constants, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants(MAX_JITTER_S=6000.0)
    monkeypatch.setattr(lease, "run_forever", once)
    first, duties = await joined(nats, "first"), list[bool]()

    async def work() -> None:
        duties.append(first.held)

    async with asyncio.timeout(10):
        await first.run(work, check=work)
    assert duties == [True]


async def test_duties_that_end_with_an_error_are_started_again(nats: InMemoryNats, constants: Constants) -> None:
    constants(OUTAGE_PAUSE_S=0.0)
    first, starts = await joined(nats, "first"), list[None]()

    async def work() -> None:
        starts.append(None)
        await asyncio.sleep(0)
        if len(starts) == 1:
            raise NatsTimeoutError
        await asyncio.Event().wait()

    with capture_logs() as lines:
        running = asyncio.create_task(first.run(work, check=work))
        await eventually(lambda: len(starts) == 2)
    assert first.held
    assert [line["work"] for line in lines if line["event"] == "work_interrupted"] == ["lease"]
    await cancel_all([running])


async def test_an_outage_is_no_unavailable_lease(nats: InMemoryNats, constants: Constants) -> None:
    # Given a NATS that does not reply
    constants(OUTAGE_PAUSE_S=0.0)
    first, checks = await joined(nats, "first"), list[object]()
    nats.before(KEY, *[NatsTimeoutError()] * 1000)

    async def check() -> None:
        checks.append(None)
        raise NatsTimeoutError

    running = asyncio.create_task(first.run(check, check=check))
    await eventually(lambda: len(checks) >= 2)
    assert first.unavailable is None
    await cancel_all([running])
