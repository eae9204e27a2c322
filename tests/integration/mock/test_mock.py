"""The mock follows the contract, and sends only messages that the document describes."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from nats.aio.client import Client as Nats
from natscribe.client import Client, ClientError, OptionError, RequestFailedError, format_result
from natscribe.mock import Mock
from natscribe.mock.script import OF_TASKS
from natscribe.schemas import subjects
from natscribe.schemas.erased import ErasureReason
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult
from natscribe.schemas.voices import Consent
from natscribe.schemas.wire import Kind
from structlog.testing import capture_logs

from app.fleet.stream_guard import provisioning
from app.settings import Settings
from tests import document
from tests.constants import Constants
from tests.integration.conftest import Publisher
from tests.integration.messages.test_wire import SAID, say_all
from tests.integration.seen_by_clients import is_in_state
from tests.integration.wire import Wire
from tests.servers import Servers
from tests.waiting import eventually
from tests.witness import witness

PAGE = document.ROOT / "docs/mock.md"
STATES = {  # of tasks whose ids request them
    "retry-1": ["queued", "running", "retrying", "running", "completed"],
    "lost-1": ["queued", "running", "running", "completed"],
    **{f"error-{code}-1": ["queued", "running", "failed"] for code in OF_TASKS},
    "error-expired-1": ["queued", "failed"],
    "error-quota_exceeded-1": ["queued", "failed"],
    "error-invalid_message-1": ["queued", "failed"],
    "error-no_such_code": ["queued", "failed"],
    "error-worker_lost-1": ["queued", *["running"] * 4, "failed"],
    **{
        f"error-{code}-1": ["queued", *["running", "retrying"] * 3, "running", "failed"]
        for code in (ErrorCode.TIMEOUT, ErrorCode.ENGINE_FAILED, ErrorCode.INTERNAL)
    },
}


@pytest.fixture
def client(client: Client, meeting: str) -> Client:
    """A client whose tasks name a recording that is there."""
    return client


async def test_a_scheduled_task_waits_until_its_time(client: Client, publisher: Publisher) -> None:
    # Given tasks that may start in a moment, and in a year
    soon, later = (datetime.now(UTC) + ahead for ahead in (timedelta(seconds=2), timedelta(days=360)))
    await client.create_transcription_task("meeting.flac", task_id="soon", not_before=soon)
    await client.create_transcription_task("meeting.flac", task_id="later", not_before=later)
    # Then one starts at its time
    events = await publisher.until("soon", State.COMPLETED)
    assert [event.state for event in events] == [State.SCHEDULED, State.RUNNING, State.COMPLETED]
    assert events[0].not_before == soon < events[1].time
    # And the other is listed with its time, and neither waits nor runs
    (listed,) = (await client.tasks(state=State.SCHEDULED)).tasks
    assert (listed.task_id, listed.not_before) == ("later", later)
    queues = (await client.queue()).queues
    assert [sum(getattr(queue, name) for queue in queues) for name in ("waiting", "running", "scheduled")] == [
        0,
        0,
        1,
    ]
    # And it can be cancelled
    assert (await client.cancel("later")).state is State.CANCELLED


async def test_from_a_file_to_the_result(settings: Settings, mock: Mock, tmp_path: Path) -> None:
    # Given a file
    recording = tmp_path / "team meeting.flac"
    recording.write_bytes(bytes(2**21))
    uploads: list[tuple[Path, int]] = []
    async with Client(settings, on_upload=lambda file, sent: uploads.append((file, sent))) as client:
        # When it is transcribed, with speakers and words
        task_id = await client.create_transcription_task(
            recording, user_id="anna", diarize=True, word_timestamps=True, language="ru"
        )
        events = [event async for event in client.follow(task_id)]
        result = await client.get_task_result(task_id)
        lines = await client.get_task_result(task_id, ResultFormat.SRT, limits=SubtitleLimits(max_line_chars=16))
        status = await client.get_task_progress(task_id)
    # Then the bytes of its upload are counted, and its story is that of the service
    assert uploads == sorted(uploads)
    assert uploads[0] < uploads[-1] == (recording, 2**21)
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    assert [(event.sequence, event.state) for event in progress] == [(1, "queued"), (2, "running"), (3, "completed")]
    published_segments = [segment for event in events if isinstance(event, SegmentsEvent) for segment in event.segments]
    # And its result is the task's
    assert isinstance(result, TranscriptionResult)
    assert (result.task_id, result.user_id, result.language) == (task_id, "anna", "ru")
    assert [(part.start, part.text, part.words) for part in result.segments] == [
        (part.start, part.text, part.words) for part in published_segments
    ]
    assert {part.speaker for part in result.segments} == {"SPEAKER_00", "SPEAKER_01"}
    assert "\nSPEAKER_00: Good\nmorning.\n" in str(lines)
    # And times are true
    assert status.finished_at == progress[-1].time == max(event.time for event in progress)
    assert status.created_at <= progress[0].time <= result.created_at <= progress[-1].time


async def test_the_prefix_of_an_id_chooses_how_the_task_ends(client: Client, publisher: Publisher) -> None:
    # Given tasks whose ids request an outcome
    for task_id in STATES:
        needs_recording = not task_id.startswith("error-")
        await publisher.publish(task_id, audio_file_id="meeting.flac" if needs_recording else "gone.flac")
    # When they are followed
    events = {task_id: [event async for event in client.follow(task_id)] for task_id in STATES}
    letters = {letter.task_id: letter.error async for letter in client.dead_letters()}
    # Then that happens
    progress = {
        task_id: [event for event in task_events if isinstance(event, ProgressEvent)]
        for task_id, task_events in events.items()
    }
    assert {task_id: [event.state for event in task_events] for task_id, task_events in progress.items()} == STATES
    # And no segment is lost or repeated
    for task_id in ("retry-1", "lost-1"):
        counted = [(e.sequence, len(e.segments)) for e in events[task_id] if isinstance(e, SegmentsEvent)]
        assert counted == [(1, 1), (2, 1), (3, 1)]
    # With the error that was asked for
    ends = {task_id: task_events[-1] for task_id, task_events in progress.items()}
    errors = {task_id: end.error for task_id, end in ends.items() if end.error is not None}
    codes = {task_id: error.code for task_id, error in errors.items()}
    assert codes == {f"error-{code}-1": code for code in OF_TASKS} | {"error-no_such_code": "invalid_message"}
    # And the dead letters are those of errors that an operator can remove
    assert letters == {task_id: error for task_id, error in errors.items() if not error.code.is_client_error}


async def test_the_prefix_of_an_id_chooses_the_error_of_requests(client: Client) -> None:
    # Given ids that request an error
    for code in ErrorCode:
        # When a request names one, then the reply is this error
        with pytest.raises(RequestFailedError) as refused:
            await client.get_task_result(f"reply-{code}-1")
        assert refused.value.code is code


async def test_a_large_result_is_in_the_bucket(client: Client, publisher: Publisher) -> None:
    # Given a task whose result is large
    await publisher.publish("large-1")
    assert [event async for event in client.follow("large-1")]
    result = await client.get_task_result("large-1")
    text = await client.get_task_result("large-1", ResultFormat.TXT)
    page = await client.get_task_result("large-1", ResultFormat.HTML)
    # Then its message names the object, and the client has the whole
    message = json.loads((await publisher.js.get_last_msg("transcription_results", "results.large-1")).data or b"")
    assert (message["object"]["bucket"], message["text"], message["segments"]) == ("results", "", [])
    assert isinstance(result, TranscriptionResult)
    assert message["object"]["size"] > 1024**2
    assert text == "\n".join(segment.text for segment in result.segments) + "\n"
    assert page == format_result(result, ResultFormat.HTML)


async def test_a_running_task_is_cancelled_and_the_next_one_waits(client: Client, publisher: Publisher) -> None:
    # Given a task at work, and one that waits
    await publisher.publish("slow-1", user_id=1)
    await eventually(lambda: is_in_state(client, "slow-1", State.RUNNING))
    await publisher.publish("slow-2", kind=Kind.DIARIZATION, user_id=2)
    status = await client.get_task_progress("slow-2")
    assert (status.state, status.queue_position) == (State.QUEUED, 1)
    assert status.seconds_ahead == 0
    overview = await client.queue()
    assert [(queue.waiting, queue.running) for queue in overview.queues][3:5] == [(0, 1), (1, 0)]
    assert sorted((load.user_id, load.waiting, load.running) for load in overview.users) == [(1, 0, 1), (2, 1, 0)]
    page = await client.tasks(limit=1)
    rest = await client.tasks(limit=1, before=page.more_before)
    assert [task.task_id for task in (*page.tasks, *rest.tasks)] == ["slow-2", "slow-1"]
    assert rest.more_before is None
    running = await client.tasks(user_id=1, state=State.RUNNING)
    assert [(task.task_id, task.audio_file_id) for task in running.tasks] == [("slow-1", "meeting.flac")]
    assert (await client.tasks(user_id="1")).tasks == []
    # When the first is cancelled, then it has no result
    assert (await client.cancel("slow-1")).state is State.CANCELLED
    with pytest.raises(RequestFailedError, match="cancelled"):
        await client.get_task_result("slow-1")
    # Then the second starts at once
    await eventually(lambda: is_in_state(client, "slow-2", State.RUNNING))
    # And when its user is deleted, nothing is left of it
    assert await client.delete_user(2) == 1
    with pytest.raises(RequestFailedError, match="No task slow-2 is known"):
        await client.get_task_progress("slow-2")
    # But an event that it was erased, as after the deletion of a task
    await client.delete("slow-1")
    erased = [(event.task_id, event.user_id, event.reason) async for event in client.erased()]
    assert erased == [("slow-2", None, ErasureReason.USER), ("slow-1", 1, ErasureReason.REQUEST)]


async def test_a_dead_letter_is_replayed(client: Client) -> None:
    # Given a task that waited for too long
    task_id = await client.create_transcription_task("meeting.flac", task_id="error-expired-1")
    states: list[str] = [e.state async for e in client.follow(task_id) if isinstance(e, ProgressEvent)]
    assert states == ["queued", "failed"]
    # When its dead letter is replayed
    assert await client.replay(task_id=task_id) == 1
    assert [letter async for letter in client.dead_letters()] == []
    await client.wait_for_result(task_id)
    # Then its log continues, and a client that follows it from the start ends at its last end, not at the first
    states += ["queued", "running", "completed"]
    assert [event.state async for event in client.follow(task_id) if isinstance(event, ProgressEvent)] == states


async def test_the_failure_of_a_client_leaves_no_dead_letter(client: Client) -> None:
    # Given a task whose recording is not there
    task_id = await client.create_transcription_task("gone.flac")
    # When it fails, then its client is told, and the operator has nothing to do
    with pytest.raises(RequestFailedError, match="upload it to the bucket"):
        await client.wait_for_result(task_id)
    assert [letter async for letter in client.dead_letters()] == []
    with pytest.raises(RequestFailedError, match="No dead letter"):
        await client.replay(task_id=task_id)


async def test_a_known_id_changes_nothing(client: Client, publisher: Publisher) -> None:
    # Given a task that has ended
    await publisher.publish("t1")
    await publisher.until("t1", State.COMPLETED)
    before = (await publisher.js.stream_info("transcription_progress")).state.messages
    # When its id is published again
    await publisher.publish("t1", user_id=8)
    await publisher.publish("t2")
    await publisher.until("t2", State.COMPLETED)
    # Then nothing happened to it
    assert (await publisher.js.stream_info("transcription_progress")).state.messages == 2 * before
    assert (await publisher.request(subjects.STATUS, task_id="t1"))["task"]["user_id"] == 7
    assert (await publisher.js.stream_info("transcription_tasks")).state.messages == 0


async def test_core_subscribers_see_what_is_stored(settings: Settings, client: Client, publisher: Publisher) -> None:
    # Given a subscriber
    async with witness(settings.nats_url) as listening:
        # When tasks complete and fail
        for task_id in ("t1", "error-expired", "retry-1"):
            await publisher.publish(task_id)
        await publisher.until("retry-1", State.COMPLETED)
        # Then each message was received, and nothing else
        await eventually(listening.agrees)


async def test_each_message_of_the_document_is_published(client: Client, publisher: Publisher, wire: Wire) -> None:
    # Given a task of each kind, one that fails, and one that is none
    await publisher.publish("text", diarize=True, word_timestamps=True)
    await publisher.publish("turns", kind=Kind.DIARIZATION, identify=True)
    await publisher.publish("error-expired")
    await publisher.publish("wrong", unknown=True)
    await publisher.js.publish("tasks.diarization.low", b"\xff")
    for task_id in ("text", "turns"):
        await publisher.until(task_id, State.COMPLETED)
    for task_id in ("error-expired", "wrong"):
        await publisher.until(task_id, State.FAILED)
    # When every message and request is sent
    await say_all(publisher, wire)
    # Then each message of the document was seen that is not between workers; the fixture finds those not in it
    said = SAID - {"ServicePing", "ServiceInfo", "ServiceStats"}  # the mock is found by no discovery of services
    await eventually(lambda: wire.seen() >= said)  # its own connection may be a moment behind
    assert wire.seen() == said


async def test_a_second_one_is_refused(settings: Settings, mock: Mock) -> None:
    # Given a mock, when another one is started on the same server, then it says why it does not
    with pytest.raises(ClientError, match="already: stop it, or set NATS_URL"):
        async with Mock(settings):
            pass


async def test_it_can_be_started_again(settings: Settings, publisher: Publisher) -> None:
    # Given what an earlier mock has left; `wire` subscribes to all inboxes, which keeps requests of a lost client alive
    no_bucket = settings.model_copy(update={"audio_store": "file:///nowhere"})
    async with Mock(no_bucket):
        await publisher.publish("t1")
        await publisher.until("t1", State.COMPLETED)
    reports: list[str] = []
    # When another one starts, and an old id, a message that is no task with the old id, and new ids are published
    async with Mock(no_bucket, report=reports.append):
        await publisher.publish("t1")
        await publisher.publish("t1", user_id=None)
        await publisher.publish("t2")
        await publisher.until("t2", State.COMPLETED)
        for task_id in ("slow-1", "t3"):
            await publisher.publish(task_id)
        await publisher.until("slow-1", State.RUNNING)
        # Then the new ones wait only for each other
        await publisher.until("t3", State.QUEUED)
        assert (await publisher.request("tasks.status", task_id="t3"))["queue_position"] == 1
    # And the old one stays as it was
    assert len(await publisher.until("t1", State.COMPLETED)) == 3
    assert "t1: known from an earlier run of the mock, nothing changes" in reports


async def test_time_passes_with_progress(
    settings: Settings, wire: Wire, publisher: Publisher, constants: Constants
) -> None:
    # Given a mock whose tasks take some time
    constants(MIN_EVENT_INTERVAL_S=0.01)
    no_bucket = settings.model_copy(update={"audio_store": "file:///nowhere"})
    async with Mock(no_bucket, seconds=0.33):
        # When a task is followed
        await publisher.publish("t1")
        events = await publisher.until("t1", State.COMPLETED)
    # Then it shows how far it is
    assert [(event.state, event.progress) for event in events] == [
        *[(State.QUEUED, 0), (State.RUNNING, 0)],
        *[(State.RUNNING, percent) for percent in (33, 66, 99)],
        (State.COMPLETED, 100),
    ]
    assert [event.processed_seconds for event in events[2:5]] == [20.5, 41.0, 61.5]
    assert [event.eta_seconds for event in events[2:5]] == [0.22, 0.11, 0]


async def test_its_streams_and_buckets_are_those_of_the_service(settings: Settings, mock: Mock, nc: Nats) -> None:
    # Given a mock, when a service checks the streams, then only those are missing that no client uses
    named = settings.stream_names
    inside = {named.retention, named.progress_projection, named.results_projection, named.ended_tasks}
    inside |= {named.ready, *(named.slot_consumer(slots) for slots in ("recordings", "live"))}
    inside |= {"KV_voices", "KV_embeddings", "KV_quotas", "KV_fleet"}
    assert set((await provisioning.inspect_streams(nc.jetstream(), settings)).missing) == inside | {named.due_reminders}
    # And the rest is as the service would make it
    with capture_logs() as log_entries:
        await provisioning.provision(nc.jetstream(), Settings(_env_file=None))
    assert log_entries == []


async def test_voices_are_named_until_they_are_forgotten(client: Client) -> None:
    # Given a person who was enrolled from a recording of one person
    alone = await client.create_diarization_task("meeting.flac", max_speakers=1, identify=True)
    await client.wait_for_result(alone)
    consent = Consent(by="Anna", at=datetime.now(UTC))
    voice = await client.enroll_voice(alone, name="Anna", consent=consent)
    # When she speaks in another one, beside an unknown person
    call = await client.create_transcription_task("meeting.flac", diarize=True, identify=True)
    result = await client.wait_for_result(call)
    # Then she is named, by the name that she has when the result is read
    assert {label: voice.name for label, voice in (result.voices or {}).items()} == {
        "SPEAKER_00": "Anna",
        "SPEAKER_01": "unknown",
    }
    async with client.live(diarize=True, identify=True) as live:
        await live.send(bytes(10 * 32_000))
        await live.end()
        live_result = await live.result()
    assert [voice.name for voice in (live_result.voices or {}).values()] == ["Anna", "unknown"]
    await client.rename_voice(voice.voice, "Anna Berg")
    assert str(await client.get_task_result(call, ResultFormat.TXT)).startswith("Anna Berg: ")
    # And by none after it was forgotten
    await client.forget_voice(voice.voice)
    assert str(await client.get_task_result(call, ResultFormat.TXT)).startswith("SPEAKER_00: ")
    # And an enrolment that cannot be says why
    with pytest.raises(OptionError, match="consent: it is no JSON object, in Python no Consent"):
        await client.enroll_voice(call, name="Anna", consent=cast("Consent", "Anna Berg"))
    with pytest.raises(RequestFailedError, match="2 speakers"):
        await client.enroll_voice(call, name="Anna", consent=consent)
    with pytest.raises(RequestFailedError, match="no voice"):
        await client.forget_voice(voice.voice)


async def test_no_voice_is_enrolled_from_a_silent_task(client: Client) -> None:
    # Given a live task without speech
    async with client.live(diarize=True, identify=True) as live:
        await live.end()
        assert (await live.result()).segments == []
        # When its only speaker is enrolled, then the error says that there is none
        with pytest.raises(RequestFailedError, match="0 speakers"):
            await client.enroll_voice(live.task_id, name="Anna", consent=Consent(by="Anna", at=datetime.now(UTC)))


async def test_the_page_shows_a_test_that_passes(servers: Servers, wire: Wire) -> None:
    # Given the example of the page
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(example.replace("nats://localhost:4222", servers.nats_url), namespace)  # noqa: S102 -- it is ours
    # When its test runs, then it passes
    await namespace["test_my_service"]()
