"""A real worker whose system clock jumps forwards and back, in the middle of its tasks and before scheduled ones."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from natscribe.client import Client
from natscribe.jetstream.stream_pages import pages
from natscribe.jetstream.streams import LIVE_ACK_WAIT_S
from natscribe.schemas import subjects
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.transcription import SegmentsEvent

from app.storage.jetstream.slots import SlotPool
from tests.e2e.conftest import LIBRIVOX, TWO_READERS, running, servers
from tests.e2e.test_recovery import batches_of, progress_of, result_of
from tests.playing import joined, play
from tests.truth.recordings import read, write
from tests.waiting import eventually
from tests.witness import witness

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
SPEECH = joined(sorted(LIBRIVOX.glob("*.flac"))[:4])
SHORT = Path(__file__).parents[1] / "recordings/speech/short/en-agent-user.flac"
HOUR = timedelta(hours=1)
KEEP = timedelta(minutes=30)  # how long results stay; erased at once if a clock that is an hour behind sets the time
REPEATS = 6  # of the demo recording: long enough for two jumps
WITHIN_S = 180.0
SCHEDULED = 8  # tasks
JUMPS_EVERY_S = 1.3
LATE_AT_MOST = timedelta(seconds=10)  # also because the task before still runs on a busy machine

pytestmark = [
    pytest.mark.xdist_group("recovery"),
    pytest.mark.timeout(600),
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime, which sets the clock of a process, is not installed"),
]


class Clock:
    """The system clock of all processes that are started with `environment`; their monotonic clock is the real one."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set(timedelta())
        self.environment = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # read the file each time
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, offset: timedelta) -> None:
        """Have the clock jump to the real time plus `offset`."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{offset.total_seconds():+.0f}")
        written.replace(self._file)


@dataclass
class Heartbeats:
    """When the worker extended each delivery of a grant, on the monotonic clock of the test."""

    at: dict[str, list[float]] = field(default_factory=dict)  # by `$JS.ACK.<stream>.<consumer>.<delivery number>...`

    async def note(self, message: Msg) -> None:
        if message.data == b"+WPI":
            self.at.setdefault(message.subject, []).append(time.monotonic())

    def longest_pause(self, slots: SlotPool) -> float:
        """Return the longest time between two heartbeats of one delivery of a grant, in seconds."""
        return max(
            later - earlier for subject, at in self.at.items() if slots in subject for earlier, later in pairwise(at)
        )

    def deliveries(self) -> set[str]:
        """Return the numbers of the deliveries; 1: the first delivery of a message."""
        return {subject.split(".")[4] for subject in self.at}


class TaskLog:
    """The events of one task, as a client follows them."""

    def __init__(self, client: Client, task_id: str) -> None:
        self.task_id = task_id
        self.events: list[ProgressEvent | SegmentsEvent] = []
        self.following = asyncio.create_task(self._follow(client))

    async def _follow(self, client: Client) -> None:
        async for event in client.follow(self.task_id):
            self.events.append(event)

    def is_running(self) -> bool:
        return [event.state for event in progress_of(self.events)][-1:] == [State.RUNNING]

    def has_clock(self, offset: timedelta) -> bool:
        """Whether a clock with this offset has stamped the last event of the running task."""
        return self.is_running() and abs(progress_of(self.events)[-1].time - datetime.now(UTC) - offset) < HOUR / 2


async def run_both(client: Client, recording: Path, clock: Clock | None = None) -> list[TaskLog]:
    """Run a live and a recorded task concurrently until both end; `clock`: jumps while both tasks run."""
    keep_seconds = int(KEEP.total_seconds())
    async with client.live(keep_seconds=keep_seconds) as live:
        logs = [TaskLog(client, live.task_id)]
        playing = asyncio.create_task(play(live, SPEECH))
        await eventually(logs[0].is_running)
        task_id = await client.create_transcription_task(recording, keep_seconds=keep_seconds)
        logs.append(TaskLog(client, task_id))
        await eventually(lambda: bool(batches_of(logs[1].events)), within=WITHIN_S)
        if clock is not None:
            for offset in (HOUR, -HOUR):
                clock.set(offset)
                await eventually(partial(_have_clock, logs, offset), within=WITHIN_S)
        await playing
    for log in logs:
        await asyncio.wait_for(log.following, WITHIN_S)
    return logs


def _have_clock(logs: list[TaskLog], offset: timedelta) -> bool:
    return all(log.has_clock(offset) for log in logs)


async def due_times(nc: Nats, count: int) -> list[datetime] | None:
    """Return when the data of each ended task will be erased; None: not so many tasks will be."""
    reminders = pages(nc, "transcription_retention", subjects.reminder("*", "*", "*"))
    headers = [message.headers or {} async for page in reminders for message in page]
    times = [datetime.fromisoformat(header["Nats-Schedule"].removeprefix("@at ")) for header in headers]
    return times if len(times) == count else None


async def test_tasks_survive_jumps_of_the_system_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, recording = Clock(tmp_path), tmp_path / "long.wav"
    write(recording, [read(TWO_READERS)] * REPEATS)
    heartbeats = Heartbeats()
    async with servers(tmp_path) as settings, await nats.connect(settings.nats_url) as nc:
        await nc.subscribe("$JS.ACK.transcription_ready.>", cb=heartbeats.note)
        for name, value in clock.environment.items():
            monkeypatch.setenv(name, value)
        async with (
            running(settings, tmp_path / "service.log") as service,
            service.client() as client,
            witness(settings.nats_url) as subscriber,
        ):
            # Given the results of an undisturbed run
            undisturbed = [await result_of(client, log.task_id) for log in await run_both(client, recording)]
            # When the clock of the worker jumps an hour ahead, and then an hour behind, in the middle of both tasks
            logs = await run_both(client, recording, clock)
            results = [await result_of(client, log.task_id) for log in logs]
            await eventually(subscriber.agrees)
            due_in = [at - datetime.now(UTC) for at in await eventually(partial(due_times, nc, count=4))]
    pauses = {slots: heartbeats.longest_pause(slots) for slots in SlotPool}
    with capsys.disabled():
        print(f"\nlongest pauses between heartbeats: {pauses}; to be erased in {min(due_in)} to {max(due_in)}")
    # Then each task has the text of the undisturbed run, one end, no gap, and one attempt
    for log, result, expected in zip(logs, results, undisturbed, strict=True):
        progress = progress_of(log.events)
        assert (result.segments, result.duration) == (expected.segments, expected.duration)
        assert [segment for batch in batches_of(log.events) for segment in batch.segments] == result.segments
        assert [event.state for event in progress if event.state.ended] == [State.COMPLETED]
        assert {event.attempt for event in progress} == {1}
    # And no heartbeat was lost, and nothing is erased early
    assert heartbeats.deliveries() == {"1"}
    assert pauses[SlotPool.RECORDINGS] < 2 * settings.task_heartbeat
    assert pauses[SlotPool.LIVE] < LIVE_ACK_WAIT_S
    assert all(timedelta() < left <= KEEP for left in due_in)


@pytest.mark.parametrize(
    "jump", [timedelta(minutes=5), timedelta(minutes=1), timedelta(minutes=-5)], ids=["far ahead", "ahead", "behind"]
)
async def test_scheduled_tasks_start_in_time_while_the_clock_jumps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], jump: timedelta
) -> None:
    clock, log = Clock(tmp_path), tmp_path / "service.log"
    async with servers(tmp_path) as settings, await nats.connect(settings.nats_url) as nc:
        for name, value in clock.environment.items():
            monkeypatch.setenv(name, value)
        async with running(settings, log) as service, service.client() as client:
            # Given a worker that holds the lease, and tasks that may start soon, one after another
            audio = await client.upload(SHORT)
            due = [datetime.now(UTC) + timedelta(seconds=10 + 4 * number) for number in range(SCHEDULED)]
            tasks = {await client.create_transcription_task(audio, not_before=at): at for at in due}
            # When the clock jumps for some seconds, again and again until all have ended
            results = asyncio.gather(*(client.wait_for_result(task_id) for task_id in tasks))
            offset = timedelta()
            while not (await asyncio.wait([results], timeout=JUMPS_EVERY_S))[0]:
                offset = jump - offset
                clock.set(offset)
            await results
            late_by = [await started_at(nc, task_id) - at for task_id, at in tasks.items()]
    with capsys.disabled():
        print(f"\nstarts after their time: {min(late_by)} to {max(late_by)}")
    # Then no task starts early by the server's clock, or late, and the lease stays where it is
    assert min(late_by) >= timedelta()
    assert max(late_by) < LATE_AT_MOST
    assert log.read_text().count('"lease_taken"') == 1


async def started_at(nc: Nats, task_id: str) -> datetime:
    """When the server stored the first event `running` of a task."""
    async for page in pages(nc, "transcription_progress", subjects.progress(task_id)):
        for message in page:
            if ProgressEvent.model_validate_json(message.data or b"").state is State.RUNNING and message.time:
                return message.time
    raise AssertionError(task_id)
