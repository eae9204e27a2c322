"""The events about the speakers of a live task, across attempts and workers."""

from dataclasses import replace

import pytest
from nats.js.errors import BadRequestError
from natscribe.jetstream.error_codes import QUEUE_FULL
from natscribe.schemas.live import SameSpeaker, SpeakerChanges
from natscribe.schemas.progress import State
from natscribe.schemas.wire import TaskType

from app.runtime.errors import FencedError
from app.speech.updates import Checkpoint
from app.tasks.execution.speaker_log import SpeakerLog
from app.tasks.task_log.record import Record
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts


@pytest.fixture
async def running(parts: Parts) -> Record:
    """A live task with speakers that runs, behind one event about the speakers of another task."""
    audio = {"codec": "pcm_s16le", "sample_rate": 16_000, "channels": 1}
    other, record = [
        await parts.reaching(State.RUNNING, task_id, queue=TaskType.LIVE, audio=audio, diarize=True)
        for task_id in ("other", "live-1")
    ]
    await speaker_log(parts).append(changes(1.0), other)
    return record


def changes(settled_until: float) -> SpeakerChanges:
    same = SameSpeaker(speaker="SPEAKER_01", is_="SPEAKER_00")
    return SpeakerChanges(turns=[], same=[same], voices={}, settled_until=settled_until)


def speaker_log(parts: Parts) -> SpeakerLog:
    return SpeakerLog(parts.log, parts.results)


async def test_another_attempt_continues_the_events_of_the_speakers(parts: Parts, running: Record) -> None:
    # Given an attempt that has stored an event and the state of the speakers
    first, second = speaker_log(parts), speaker_log(parts)
    await first.append(changes(10.0), running)
    await first.store_state("voices", running)
    # When another attempt resumes, then it knows both
    resumed = await second.resume(Checkpoint(), running)
    assert [event.settled_until for event in resumed.speaker_changes] == [10.0]
    assert resumed.speaker_state == "voices"
    # And its events follow, and the first attempt can append no more
    await second.append(changes(20.0), running)
    assert [message.event.sequence async for message in parts.log.speakers("live-1")] == [1, 2]
    with pytest.raises(FencedError):
        await first.append(changes(30.0), running)


async def test_the_speakers_of_an_earlier_task_with_the_same_id_are_deleted(parts: Parts, running: Record) -> None:
    earlier = replace(running, metadata=replace(running.metadata, task_sequence=running.metadata.task_sequence + 1))
    await speaker_log(parts).append(changes(10.0), earlier)
    # When a task with its id resumes, then it starts over
    attempt = speaker_log(parts)
    assert (await attempt.resume(Checkpoint(), running)).speaker_changes == ()
    await attempt.append(changes(5.0), running)
    stored = [message.event async for message in parts.log.speakers("live-1")]
    assert [(event.sequence, event.settled_until) for event in stored] == [(1, 5.0)]
    # And when the task is deleted, then so are its events
    await attempt.clean_up("live-1")
    assert [message async for message in parts.log.speakers("live-1")] == []


async def test_a_state_for_which_there_is_no_room_ends_no_attempt(
    parts: Parts, nats: InMemoryNats, running: Record
) -> None:
    # Given a bucket without room, when the state of the speakers is stored, then nothing fails
    nats.before("$KV.embeddings", BadRequestError(code=400, err_code=QUEUE_FULL))
    await speaker_log(parts).store_state("voices", running)
    # And another attempt has no state to resume from
    assert (await speaker_log(parts).resume(Checkpoint(), running)).speaker_state == ""
