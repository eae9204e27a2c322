"""Live audio without a task is erased five minutes after it arrived; audio of a task is not."""

import json
from datetime import timedelta
from functools import partial

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.jetstream import cloud_events
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.wire import TaskType

from app.speech.live.frames import erase as erase_frames
from app.tasks.queue.index import QueueIndex
from app.tasks.retention.late_frames import LateFrames
from tests.constants import Constants
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import NAMES, Parts

LONG_AFTER = timedelta(minutes=6)


@pytest.fixture
def late_frames(parts: Parts, nats: InMemoryNats) -> LateFrames:
    by_id = QueueIndex(nats.client, NAMES, parts.messages, key=lambda message: message.task_id)
    erase = partial(erase_frames, nats.client, NAMES.live)
    return LateFrames(nats.client, NAMES, parts.log, find=by_id.find, erase_frames=erase, confirm=parts.lease.confirm)


def store_frames(nats: InMemoryNats, *task_ids: str) -> None:
    """Store a frame of each of these."""
    for task_id in task_ids:
        nats.streams[NAMES.live].publish(subjects.live_audio(task_id), b"audio", {}, nats.now)


def body_of(task_id: str) -> bytes:
    """Return the message of a live task."""
    return json.dumps({"task_id": task_id, "user_id": 7, "audio": {"codec": "mulaw", "sample_rate": 8000}}).encode()


def kept(nats: InMemoryNats) -> set[str]:
    return {frame.subject.removeprefix("live.audio.") for frame in nats.streams[NAMES.live].messages}


async def test_audio_without_a_task_is_erased_after_five_minutes(late_frames: LateFrames, nats: InMemoryNats) -> None:
    # Given audio without a task
    store_frames(nats, "gone")
    # When the service checks before five minutes are over, then it stays: its task may come yet
    for nats.ahead in (timedelta(), timedelta(minutes=4, seconds=55)):
        await late_frames.erase()
        assert kept(nats) == {"gone"}
    # When they are over, then it goes, with what came since
    nats.ahead = timedelta(minutes=5, seconds=5)
    store_frames(nats, "gone")
    await late_frames.erase()
    assert kept(nats) == set()


async def test_all_pages_of_live_audio_are_checked(
    late_frames: LateFrames, nats: InMemoryNats, constants: Constants
) -> None:
    # Given audio without a task, on more subjects than are checked in one step
    constants(LOGS_AT_ONCE=2)
    store_frames(nats, *(f"gone-{number}" for number in range(5)))
    nats.ahead = LONG_AFTER
    # When the service checks, then all of it is erased
    await late_frames.erase()
    assert kept(nats) == set()


async def test_the_audio_of_a_waiting_task_stays(late_frames: LateFrames, nats: InMemoryNats, parts: Parts) -> None:
    # Given a task that waits in its queue, and no worker has registered it
    store_frames(nats, "waits")
    await parts.publish("waits", TaskType.LIVE, body=body_of("waits"))
    nats.ahead = LONG_AFTER
    # When the service checks, then its audio stays
    await late_frames.erase()
    assert kept(nats) == {"waits"}


@pytest.mark.parametrize("state", [State.RUNNING, State.FAILED])
async def test_the_audio_of_a_task_with_a_log_stays(
    late_frames: LateFrames, nats: InMemoryNats, parts: Parts, state: State
) -> None:
    # Given a task that runs, or one that has failed and may be replayed
    store_frames(nats, "known")
    await parts.reaching(state, "known", queue=TaskType.LIVE, body=body_of("known"))
    nats.streams[NAMES.tasks].messages.clear()
    nats.ahead = LONG_AFTER
    # When the service checks, then its audio stays
    await late_frames.erase()
    assert kept(nats) == {"known"}


async def test_a_log_of_another_version_keeps_its_audio_and_delays_no_other_task(
    late_frames: LateFrames, nats: InMemoryNats
) -> None:
    # Given old audio of a task whose log this version cannot read, and audio without a task
    store_frames(nats, "later", "gone")
    headers = cloud_events.headers("progress", "natscribe/later", "event", task_id="later")
    nats.streams[NAMES.progress].publish(subjects.progress("later"), b'{"later": true}', headers, nats.now)
    nats.ahead = LONG_AFTER
    # When late frames are erased, then only those without a task are
    await late_frames.erase()
    assert kept(nats) == {"later"}


async def test_a_failed_check_erases_no_audio_and_is_repeated(
    late_frames: LateFrames, nats: InMemoryNats, parts: Parts
) -> None:
    # Given old audio of a task that waits, and some without a task
    store_frames(nats, "waits", "gone")
    await parts.publish("waits", TaskType.LIVE, body=body_of("waits"))
    nats.ahead = LONG_AFTER
    # When NATS does not reply in the middle of a check
    nats.before(f"$JS.API.STREAM.INFO.{NAMES.tasks}", NatsTimeoutError())
    with pytest.raises(NatsTimeoutError):
        await late_frames.erase()
    # Then nothing of the task is erased, and the next check erases the rest
    assert "waits" in kept(nats)
    await late_frames.erase()
    assert kept(nats) == {"waits"}


@pytest.mark.parametrize("subject", ["*", ">", "ä", "x" * 65])
async def test_audio_under_an_invalid_task_id_erases_nothing(
    late_frames: LateFrames, nats: InMemoryNats, parts: Parts, subject: str
) -> None:
    # Given audio under a name that no task has, which NATS may take for all tasks
    store_frames(nats, subject, "waits")
    await parts.publish("waits", TaskType.LIVE, body=body_of("waits"))
    nats.ahead = LONG_AFTER
    # When the service checks, then the audio of others stays; that of no task stays until it is too old for its stream
    await late_frames.erase()
    assert kept(nats) == {subject, "waits"}
    # And it cannot be erased as the audio of a task
    with pytest.raises(ValueError, match="no task id"):
        await erase_frames(nats.client, NAMES.live, subject)
    assert kept(nats) == {subject, "waits"}
