"""The description of a task's status."""

from datetime import timedelta

import pytest
from natscribe.cli.status import details, summary
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.examples import RESULT
from natscribe.schemas.live import Codec, LiveAudio, LiveTask
from natscribe.schemas.progress import Stage, State
from natscribe.schemas.request_errors import unknown_task, without_result
from natscribe.schemas.transcription import Channels, TranscriptionTask
from natscribe.schemas.wire import Kind, Priority

from app.fleet.expiry import EXPIRED
from app.storage.recordings.recording import REPLACED
from tests.unit.messages import NOON, task_status

TASK = TranscriptionTask(
    task_id="t1", audio_file_id="meeting.flac", user_id=7, language="ru", channels=Channels.SEPARATE, diarize=True
)
QUEUED = task_status(task=TASK, priority=Priority.HIGH, state=State.QUEUED, queue_position=2)
LIVE = LiveTask(task_id="t1", user_id=7, audio=LiveAudio())
ENDED = {"started_at": NOON + timedelta(seconds=5), "finished_at": NOON + timedelta(seconds=70), "worker": "w-1"}


def described(**changes: object) -> dict[str, str]:
    return dict(details(QUEUED.model_copy(update={"queue_position": None} | changes), None))


def test_a_waiting_task_has_only_known_details() -> None:
    assert summary(QUEUED) == "t1: transcription queued, position 2"
    assert details(QUEUED, None) == [
        ("recording", "meeting.flac"),
        ("user", "7"),
        ("created", f"{NOON.astimezone():%Y-%m-%d %H:%M:%S}"),
        ("options", "language ru, channels separate, diarize"),
        ("priority", "high"),
        ("next", "natscribe watch t1, or natscribe cancel t1"),
    ]


def test_a_scheduled_task_has_its_time() -> None:
    scheduled = QUEUED.model_copy(update={"state": State.SCHEDULED, "not_before": NOON, "queue_position": None})
    assert summary(scheduled) == f"t1: transcription scheduled for {NOON.astimezone():%Y-%m-%d %H:%M}"
    assert dict(details(scheduled, None))["scheduled"] == f"{NOON.astimezone():%Y-%m-%d %H:%M:%S}"


def test_a_running_task_has_a_worker_and_a_time_left() -> None:
    running = described(
        state=State.RUNNING, stage=Stage.DIARIZING, duration_seconds=61.5, eta_seconds=9.2, worker="w-1", attempt=2
    )
    assert (running["length"], running["left"], running["worker"]) == ("1:01", "about 0:09", "w-1")
    assert running["attempt"] == "2"


def test_a_live_task_has_a_lag_only_if_people_notice_it() -> None:
    # Given a live task whose text is one second behind, as usual, or twelve
    live = {"state": State.RUNNING, "stage": Stage.TRANSCRIBING, "queue_position": None}
    near, far = (QUEUED.model_copy(update=live | {"lag_seconds": lag}) for lag in (1.2, 12.5))
    # Then there is no percentage, and only the second one has a lag
    assert summary(near) == "t1: transcription running, transcribing, live"
    assert summary(far) == "t1: transcription running, transcribing, live, 0:12 behind"


def test_a_result_has_the_duration_of_each_language() -> None:
    # Given a result with two languages
    result = RESULT.model_copy(update={"languages": {"en": 40.5, "ru": 12.3}, "duration": 61.5, "speakers": 2})
    status = QUEUED.model_copy(update={"state": State.COMPLETED, "result_available": True} | ENDED)
    topics = dict(details(status, result))
    # Then each has its duration, and the task its times
    assert (topics["language"], topics["length"], topics["speakers"]) == ("en 0:40, ru 0:12", "1:01", "2")
    assert topics["started"].endswith(", after 0:05")
    assert topics["finished"].endswith(", after 1:05")
    assert topics["next"] == "natscribe result t1"


@pytest.mark.parametrize(
    ("languages", "text"),
    [
        ({"en": 57.5, "pl": 3}, "en"),
        ({"en": 3500, "ru": 10.2, "pl": 9}, "en 58:20, ru 0:10"),
        ({"en": 4.1, "ru": 3.5}, "en 0:04, ru 0:03"),
    ],
)
def test_a_language_of_a_few_seconds_is_listed_only_in_a_short_recording(
    languages: dict[str, float], text: str
) -> None:
    result = RESULT.model_copy(update={"languages": languages, "language": "en"})
    status = QUEUED.model_copy(update={"state": State.COMPLETED, "result_available": True} | ENDED)
    assert dict(details(status, result))["language"] == text


@pytest.mark.parametrize(
    ("state", "next_step"),
    [
        (State.COMPLETED, "natscribe transcribe FILE, because results are stored for 7 days"),
        (State.CANCELLED, "natscribe transcribe FILE"),
        (State.FAILED, "natscribe dead-letters replay --task-id t1, once the cause is removed"),
        (State.RETRYING, "natscribe watch t1, or natscribe cancel t1"),
    ],
)
def test_each_state_has_a_next_step(state: State, next_step: str) -> None:
    assert described(state=state)["next"] == next_step


def test_each_kind_of_task_has_its_own_command() -> None:
    cancelled = {"state": State.CANCELLED}
    assert described(**cancelled, kind=Kind.DIARIZATION)["next"] == "natscribe diarize FILE"
    assert described(**cancelled, task=LIVE)["next"] == "natscribe live FILE"
    error = ErrorDetail(code=ErrorCode.AUDIO_UNREADABLE, message="The recording has no audio.")
    failed = described(state=State.FAILED, error=error)
    assert failed["next"] == "natscribe transcribe FILE, once the cause is removed"


def test_live_audio_that_has_stopped_can_be_resumed() -> None:
    steps = "natscribe watch t1, natscribe live - --resume t1 if no audio arrives, or natscribe cancel t1"
    assert described(state=State.RUNNING, task=LIVE)["next"] == steps
    # But Opus cannot, as it is a file
    opus = LIVE.model_copy(update={"audio": LiveAudio(codec=Codec.OPUS, sample_rate=48_000)})
    assert described(state=State.RUNNING, task=opus)["next"] == "natscribe watch t1, or natscribe cancel t1"


def test_an_invalid_message_has_a_status() -> None:
    error = ErrorDetail(code=ErrorCode.INVALID_MESSAGE, message="The message is no valid task.")
    status = QUEUED.model_copy(update={"task": None, "state": State.FAILED, "queue_position": None, "error": error})
    assert summary(status) == "t1: transcription failed: The message is no valid task. (invalid_message)"
    assert [topic for topic, _ in details(status, None)] == ["created", "priority", "next"]


@pytest.mark.parametrize(
    "error",
    [
        unknown_task("t1"),
        without_result(QUEUED.model_copy(update={"state": State.CANCELLED})),
        EXPIRED,
        REPLACED,
    ],
)
def test_errors_of_tasks_have_a_next_step_for_people_and_programs(error: ErrorDetail | str) -> None:
    # A person at a terminal submits a task; only programs publish its message
    message = error if isinstance(error, str) else error.message
    assert ("submit" in message, "publish" in message) == (True, False)
