"""The lease: taken, renewed and released by compare-and-set, whatever replies are lost."""

import asyncio
from time import monotonic
from typing import Any

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import NoStreamResponseError
from natscribe.schemas.workers import Problem

from app.cancellation import cancel_all
from app.jetstream import lease
from app.jetstream.lease import Lease, LeaseLostError, Report
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
    made = Lease(nats.client, "transcription", worker, on_report=(Reports() if reports is None else reports).append)
    await made.open()
    return made


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(lease, "monotonic", lambda: monotonic() + seconds)


def lose_reply(nats: InMemoryNats) -> None:
    nats.behind(KEY, NatsTimeoutError())


async def test_one_of_two_workers_takes_the_lease(nats: InMemoryNats) -> None:
    # Given two workers that know of no holder
    first, second = [await joined(nats, name) for name in ("first", "second")]
    # When both try to take the lease, then one of them has it
    assert [await first.take(), await second.take()] == [True, False]
    assert [first.held, second.held] == [True, False]
    # And both know the holder
    assert [known.holder is not None and known.holder.holder for known in (first, second)] == ["first", "first"]


async def test_a_lease_without_renewal_is_taken_and_its_holder_is_fenced(
    nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a holder that does not renew the lease
    first, second = [await joined(nats, name) for name in ("first", "second")]
    assert await first.take()
    assert not await second.take()
    # When the time is over, then another worker takes it, with a larger token
    later(monkeypatch, lease.LOST_AFTER_S)
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


async def test_a_young_renewal_confirms_the_lease(nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await joined(nats, "first")
    assert await first.take()
    nats.asked.clear()
    await first.confirm()
    assert nats.asked == []
    later(monkeypatch, lease.CONFIRMED_FOR_S)
    await first.confirm()
    assert nats.asked == [KEY]


async def test_a_holder_may_create_the_bucket_again(nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a holder whose bucket was deleted
    first = await joined(nats, "first")
    assert await first.take()
    stream = nats.streams.pop(BUCKET)
    later(monkeypatch, lease.CONFIRMED_FOR_S)
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
    later(monkeypatch, lease.LOST_AFTER_S)
    assert await first.take()


async def test_a_lease_that_cannot_be_stored_is_reported_and_the_worker_checks_for_itself(
    nats: InMemoryNats, constants: Constants
) -> None:
    # Given a user without the right to store the lease: NATS does not answer
    constants(OUTAGE_PAUSE_S=0.0, UNAVAILABLE_FOR_S=0.01)
    first, checks, duties = await joined(nats, "first"), list[object](), list[object]()
    nats.before(KEY, *[NatsTimeoutError()] * 6)

    async def check() -> None:
        checks.append(first.unavailable)
        await first.confirm()

    async def work() -> None:
        duties.append(None)
        await asyncio.Event().wait()

    running: asyncio.Task[Any] = asyncio.create_task(first.run(work, check=check))
    # Then the worker checks for itself a few times, and reports it
    await eventually(lambda: len(checks) >= 3)
    assert all(isinstance(problem, Problem) and "$KV.fleet.*" in problem.next_step for problem in checks)
    # And when it has the right, then it takes the lease, and does all duties
    await eventually(lambda: bool(duties))
    assert first.unavailable is None
    await cancel_all([running])
    assert not first.held


async def test_duties_that_end_with_an_error_are_started_again(nats: InMemoryNats, constants: Constants) -> None:
    constants(OUTAGE_PAUSE_S=0.0)
    first, starts = await joined(nats, "first"), list[None]()

    async def work() -> None:
        starts.append(None)
        await asyncio.sleep(0)
        if len(starts) == 1:
            raise NatsTimeoutError
        await asyncio.Event().wait()

    running = asyncio.create_task(first.run(work, check=work))
    await eventually(lambda: len(starts) == 2)
    assert first.held
    await cancel_all([running])


async def test_an_outage_is_no_unavailable_lease(nats: InMemoryNats, constants: Constants) -> None:
    # Given a NATS that answers nothing
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
