"""What others write on the service's own subjects: a task is done behind it, and nothing comes of it."""

import json

import pytest
from natscribe.schemas.progress import State
from redis.asyncio import Redis

from tests.integration.conftest import Publisher, queue_is_empty
from tests.integration.hostile import EVENT, GARBAGE
from tests.waiting import eventually

pytestmark = pytest.mark.foreign

RESULT = "one two one two one two"
FORGED = {"Natscribe-Task-Sequence": "1", "Natscribe-Task-Subject": "tasks.transcription.low"}


async def is_projected(publisher: Publisher) -> bool:
    """Whether no event and no result is left for the projection."""
    of_events, of_results = [
        await publisher.js.consumer_info(f"transcription_{of}", f"transcription_worker_projection_{of}")
        for of in ("progress", "results")
    ]
    return not any(info.num_pending or info.num_ack_pending for info in (of_events, of_results))


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("of", ["progress", "segments", "results"])
async def test_a_task_is_done_behind_what_others_wrote_before(
    publisher: Publisher, redis: Redis, task_id: str, of: str, garbage: bytes
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
    # And projected, and what others wrote is not delivered again and again
    await eventually(lambda: redis.exists(f"task:{task_id}:result"))
    await eventually(lambda: is_projected(publisher))
    # And deleting it takes all of that along
    assert (await publisher.request("tasks.delete", task_id=task_id))["deleted"]
    for stream in ("progress", "segments", "results"):
        info = await publisher.js.stream_info(f"transcription_{stream}", subjects_filter=f"{stream}.{task_id}")
        assert not info.state.subjects


@pytest.mark.parametrize(
    "forged",
    [
        FORGED | {"Natscribe-Created-At": "2026-01-01T00:00:00"},  # where?
        *(FORGED | {"Natscribe-Task-Subject": subject} for subject in ("tasks.transcription", "tasks.live.now", "low")),
    ],
    ids=str,
)
async def test_an_event_with_headers_that_the_service_cannot_have_written_is_not_projected(
    publisher: Publisher, redis: Redis, task_id: str, forged: dict[str, str]
) -> None:
    # Given an event that looks as if the service had written it, but for a header
    event = json.dumps(EVENT | {"task_id": f"{task_id}-other"}).encode()
    await publisher.js.publish(f"append.progress.{task_id}-other", event, headers=forged)
    # When a task follows it, then it is projected, and nothing else
    await publisher.reaching(State.COMPLETED, task_id)
    await eventually(lambda: redis.exists(f"task:{task_id}:info"))
    await eventually(lambda: is_projected(publisher))
    assert not await redis.exists(f"task:{task_id}-other:info")


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
