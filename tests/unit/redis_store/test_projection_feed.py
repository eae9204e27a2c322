"""Many events that are to be projected delay no other work in the worker."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from natscribe.jetstream import cloud_events
from natscribe.schemas.diarization import DiarizationResult
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.wire import Model
from pydantic import BaseModel
from structlog.testing import capture_logs

from app.runtime.cancellation import cancel_all
from app.runtime.errors import TransientError
from app.settings import Settings
from app.storage.jetstream.pull_inbox import PullInbox
from app.tasks.projection import projection_feed
from app.tasks.projection.projection import ProjectedEvent, ProjectedResult, RedisProjection
from app.tasks.projection.projection_feed import MAX_EVENTS_PER_BATCH, MAX_RESULTS_PER_BATCH
from app.tasks.task_log.record import Metadata
from tests.fakes import messages
from tests.waiting import DEADLINE, eventually, patiently

NAMES = Settings(_env_file=None).stream_names
Waiting = dict[int, list[list[Msg]]]
STORED, NOW = datetime(2026, 1, 1, 11, tzinfo=UTC), datetime(2026, 1, 1, 12, tzinfo=UTC)


@dataclass
class FakeProjection:
    """Records what is projected."""

    takes: float = 0.0  # seconds
    projected: list[ProjectedEvent] = field(default_factory=list)
    began_at: list[float] = field(default_factory=list)
    ended_at: list[float] = field(default_factory=list)
    results: dict[str, ProjectedResult] = field(default_factory=dict)

    async def write_events(self, events: Sequence[ProjectedEvent]) -> None:
        loop = asyncio.get_running_loop()
        self.began_at.append(loop.time())
        if self.takes:
            await asyncio.sleep(self.takes)
        self.projected += events
        self.ended_at.append(loop.time())

    async def write_results(self, results: Mapping[str, ProjectedResult]) -> None:
        self.results.update(results)


@dataclass
class FakeClient:
    acknowledged: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)

    async def publish(self, subject: str, payload: bytes = b"", **__: object) -> None:
        (self.returned if payload.startswith(b"-NAK") else self.acknowledged).append(subject)

    async def request(self, subject: str, **_: object) -> Msg:
        info = {"ts": NOW.isoformat(), "created": STORED.isoformat()}
        return Msg(cast("Client", self), subject, data=json.dumps(info).encode())


def stored(client: FakeClient, subject: str, number: int, body: BaseModel) -> Msg:
    metadata = Metadata(None, number, "tasks.transcription.low", datetime.now(UTC))
    reply = f"$JS.ACK.stream.consumer.1.{number}.{number}.{STORED.timestamp():.0f}000000000.0"
    headers = metadata.headers() | cloud_events.headers("any", "natscribe/w", "1", task_id=subject.rpartition(".")[2])
    return Msg(cast("Client", client), subject, reply, body.model_dump_json().encode(), headers)


def event(client: FakeClient, number: int) -> Msg:
    """An event; the first one is of the same task as the last."""
    task_id = f"t{number if number > 1 else MAX_EVENTS_PER_BATCH}"
    return stored(client, f"progress.{task_id}", number, messages.event(task_id=task_id))


def result(client: FakeClient, number: int) -> Msg:
    diarization = DiarizationResult(
        task_id=f"t{number}",
        audio_file_id="meeting.flac",
        user_id=7,
        duration=1,
        speakers=0,
        segments=[],
        model=Model(name="fake", revision="0"),
        audio_sha256="0" * 64,
        created_at=datetime.now(UTC),
    )
    return stored(client, f"results.t{number}", number, diarization)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    """The messages that pulls of so many return, one list after the other; a further pull does not end."""
    batches: Waiting = defaultdict(list)

    async def pull(_: PullInbox, batch: int, **__: object) -> list[Msg]:
        if not batches[batch]:
            await asyncio.Event().wait()
        return batches[batch].pop(0)

    monkeypatch.setattr(PullInbox, "pull", pull)
    return batches


@pytest.fixture
def full(client: FakeClient, waiting: Waiting) -> None:
    """A full batch of events waits, and one of results."""
    for size, message in ((MAX_EVENTS_PER_BATCH, event), (MAX_RESULTS_PER_BATCH, result)):
        waiting[size].append([message(client, number) for number in range(1, size + 1)])


@asynccontextmanager
async def projecting(client: FakeClient, projection: FakeProjection) -> AsyncIterator[None]:
    work = projection_feed.run(cast("Client", client), NAMES, cast("RedisProjection", projection))
    run = asyncio.create_task(work)
    try:
        async with asyncio.timeout(patiently(DEADLINE)):
            yield
    finally:
        await cancel_all([run])


@pytest.mark.usefixtures("full")
async def test_other_work_runs_during_a_large_projection(client: FakeClient) -> None:
    # Given a great many events and results, and something else that continues
    projection, turns, turns_of_results = FakeProjection(), 0, 0
    # When they are projected
    async with projecting(client, projection):
        while len(client.acknowledged) < MAX_EVENTS_PER_BATCH + MAX_RESULTS_PER_BATCH:
            turns += 1
            turns_of_results += not projection.results
            await asyncio.sleep(0)
    # Then all are, of the events the newest of each task, as they are and with their age
    assert [projected_event.record.stream_sequence for projected_event in projection.projected] == list(
        range(MAX_EVENTS_PER_BATCH, 1, -1)
    )
    assert len(projection.results) == MAX_RESULTS_PER_BATCH
    first = projection.results["t1"]
    assert DiarizationResult.model_validate_json(first.result).task_id == "t1"
    assert {projected_event.age_s for projected_event in projection.projected} | {first.age_s} == {
        (NOW - STORED).total_seconds()
    }
    # And other tasks ran between a few events, while these were read, written and acknowledged, and between two results
    assert 25 <= turns <= 2 * MAX_EVENTS_PER_BATCH
    assert turns_of_results >= MAX_RESULTS_PER_BATCH


@pytest.mark.usefixtures("full")
async def test_the_projection_takes_at_most_half_of_the_time(client: FakeClient, waiting: Waiting) -> None:
    # Given events that take a while to be projected, and another one behind them
    projection = FakeProjection(takes=0.3)
    waiting[MAX_EVENTS_PER_BATCH].append([event(client, 2)])
    # When they are projected
    async with projecting(client, projection):
        await eventually(lambda: len(projection.began_at) > 1)
    # Then the worker has as long for itself before it pulls the next ones
    assert projection.began_at[1] - projection.ended_at[0] >= projection.takes


async def test_an_event_that_arrives_while_the_feed_waits_is_projected(client: FakeClient, waiting: Waiting) -> None:
    # Given a stream without events, to which one is added
    waiting[MAX_EVENTS_PER_BATCH], waiting[1] = [[]], [[event(client, 2)]]
    # Then it is projected
    projection = FakeProjection()
    async with projecting(client, projection):
        await eventually(lambda: bool(client.acknowledged))
    assert [item.record.stream_sequence for item in projection.projected] == [2]


class RefusingProjection(FakeProjection):
    """Writes nothing, as Redis refuses it."""

    async def write_events(self, events: Sequence[ProjectedEvent]) -> None:
        del events
        raise TransientError(ErrorCode.INTERNAL, "Redis refuses the service.")


@pytest.mark.usefixtures("full")
async def test_an_interrupted_projection_is_logged(client: FakeClient) -> None:
    # Given a Redis that refuses what the feed writes
    with capture_logs() as logs:
        async with projecting(client, RefusingProjection()):
            # When the feed tries
            await eventually(lambda: any(line["event"] == "work_interrupted" for line in logs))
    # Then the log says why the keys are not up to date, whatever else this process logs meanwhile
    interrupted = [(line["work"], line["error"]) for line in logs if line["event"] == "work_interrupted"]
    assert interrupted == [("projection", "Redis refuses the service.")]


async def test_a_message_that_only_another_version_can_read_is_returned_alone(
    client: FakeClient, waiting: Waiting
) -> None:
    # Given two events, and one of another version between them
    batch = [event(client, number) for number in (2, 3, 4)]
    batch[1].data = b"{}"
    waiting[MAX_EVENTS_PER_BATCH] = [batch]
    # When they are projected, then the others are, and the one is returned
    projection = FakeProjection()
    async with projecting(client, projection):
        await eventually(lambda: len(client.acknowledged) + len(client.returned) == len(batch))
    assert [item.record.stream_sequence for item in projection.projected] == [2, 4]
    assert client.returned == [batch[1].reply]
