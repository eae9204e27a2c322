"""What others write on the service's own subjects: a task is done behind it, and nothing comes of it."""

import json

import pytest
from natscribe.schemas.progress import State

from tests.integration.conftest import Publisher, queue_is_empty
from tests.waiting import eventually

pytestmark = pytest.mark.foreign

RESULT = "one two one two one two"
EVENT = {"kind": "transcription", "state": "queued", "max_attempts": 4, "sequence": 1, "time": "2026-01-01T00:00:00Z"}
GARBAGE = {
    "empty": b"",
    "no text": b"\xff\x00",
    "empty object": b"{}",
    "list": b"[]",
    "id alone": b'{"task_id": "ID"}',
    "event": json.dumps({"task_id": "ID"} | EVENT).encode(),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("of", ["progress", "segments", "results"])
async def test_a_task_is_done_behind_what_others_wrote_before(
    publisher: Publisher, task_id: str, of: str, garbage: bytes
) -> None:
    # Given something on one of a task's subjects that the service did not write
    await publisher.js.publish(f"append.{of}.{task_id}", garbage.replace(b"ID", task_id.encode()))
    # And no task of that id
    assert (await publisher.request("tasks.status", task_id=task_id))["error"]["code"] == "not_found"
    # When the task is published
    await publisher.publish(task_id)
    # Then it is done as if nothing were there
    await eventually(lambda: publisher.is_completed(task_id))
    assert (await publisher.request("tasks.result", task_id=task_id))["text"] == RESULT
    await eventually(lambda: queue_is_empty(publisher.js))
    # And deleting it takes all of that along
    assert (await publisher.request("tasks.delete", task_id=task_id))["deleted"]
    for stream in ("progress", "segments", "results"):
        info = await publisher.js.stream_info(f"transcription_{stream}", subjects_filter=f"{stream}.{task_id}")
        assert not info.state.subjects


async def test_a_result_is_read_despite_later_foreign_messages(publisher: Publisher, task_id: str) -> None:
    await publisher.reaching(State.COMPLETED, task_id)
    await publisher.js.publish(f"append.results.{task_id}", b"{}")
    assert (await publisher.request("tasks.result", task_id=task_id))["text"] == RESULT


async def test_a_forged_copy_opens_no_log(publisher: Publisher, task_id: str) -> None:
    # Given a message in the queue
    await publisher.publish(f"{task_id}-real")
    sequence = (await publisher.js.stream_info("transcription_tasks")).state.last_seq
    # When a client publishes that another task has its result there
    ghost = {"task_id": task_id, "audio_file_id": "meeting.flac", "user_id": 7}
    headers = {"Nats-Sequence": str(sequence), "Nats-Subject": "tasks.transcription.high"}
    await publisher.nc.publish("accepted.tasks.transcription.high", json.dumps(ghost).encode(), headers=headers)
    await publisher.until(f"{task_id}-real", State.COMPLETED)
    # Then it is not believed, and the id is free for its publisher
    await publisher.reaching(State.COMPLETED, task_id)


async def test_a_replay_of_another_task_opens_nothing(publisher: Publisher, task_id: str) -> None:
    # Given a task that has failed
    await publisher.reaching(State.FAILED, task_id, audio_file_id="nowhere.flac")
    failed = (await publisher.js.get_last_msg("transcription_progress", f"progress.{task_id}")).seq
    # When another task is published under its id, as if it were a replay
    other = {"task_id": task_id, "audio_file_id": "meeting.flac", "user_id": 7}
    headers = {"Natscribe-Replay-Of": str(failed)}
    await publisher.js.publish("tasks.transcription.high", json.dumps(other).encode(), headers=headers)
    await eventually(lambda: queue_is_empty(publisher.js))
    # Then the failure stays
    assert (await publisher.js.get_last_msg("transcription_progress", f"progress.{task_id}")).seq == failed
