"""Promises of docs/contract.md that no other test checks."""

import json

from natscribe.schemas.progress import State
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult

from app.main import Worker
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher

TASK = json.dumps({"task_id": "t1", "audio_file_id": "meeting.flac", "user_id": 1}).encode()
QUEUE = "tasks.transcription.normal"
TWO_MINUTES = 120.0


async def test_an_id_used_again_soon_after_it_was_deleted_is_dropped(
    publisher: Publisher, worker: Worker, settings: Settings
) -> None:
    # Given a task that was published with its id in the header, and deleted when it was done
    await publisher.js.publish(QUEUE, TASK, headers={"Nats-Msg-Id": "t1"})
    await publisher.until("t1", State.COMPLETED)
    assert (await publisher.request("tasks.delete", task_id="t1"))["deleted"]
    # When its id is used again at once
    acknowledged = await publisher.js.publish(QUEUE, TASK, headers={"Nats-Msg-Id": "t1"})
    # Then the stream says that it has dropped the message, and no such task is known
    assert acknowledged.duplicate
    assert (await publisher.js.stream_info(settings.nats_stream_name)).config.duplicate_window == TWO_MINUTES
    reply = await publisher.request("tasks.status", task_id="t1")
    assert reply["error"]["code"] == "not_found"


async def test_the_speakers_are_in_the_result_not_in_the_live_segments(
    publisher: Publisher, worker: Worker, engine: FakeEngine
) -> None:
    await publisher.publish("t1", diarize=True)
    await publisher.until("t1", State.COMPLETED)
    live = await publisher.js.subscribe("segments.t1", stream="transcription_segments", ordered_consumer=True)
    event = SegmentsEvent.model_validate_json((await live.next_msg(timeout=10)).data)
    assert {segment.speaker for segment in event.segments} == {None}
    result = TranscriptionResult.model_validate_json(
        (await publisher.js.get_last_msg("transcription_results", "results.t1")).data or b""
    )
    assert {segment.speaker for segment in result.segments} == {"SPEAKER_00", "SPEAKER_01"}
