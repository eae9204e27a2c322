"""The examples of the AsyncAPI document: the messages of one meeting, from the task to the transcript."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Final

from pydantic import BaseModel

from .dead_letters import BodyEncoding, DeadLetter
from .diarization import DiarizationResult, DiarizationTask, Turn
from .errors import ErrorCode, ErrorDetail, ErrorReply
from .headers import FrameHeaders
from .live import Codec, LiveAudio, LiveTask, Partial
from .progress import ProgressEvent, Stage, State
from .requests import (
    Deleted,
    DeleteLettersRequest,
    LettersDeleted,
    Replayed,
    ReplayRequest,
    ResultFormat,
    ResultRequest,
    TaskRequest,
    TaskStatus,
    UserRequest,
)
from .task_list import ListedTask, ListRequest, TaskPage
from .task_queues import QueueOverview, QueueRequest, QueueStatus
from .transcription import Channels, Segment, SegmentsEvent, TranscriptionResult, TranscriptionTask, Word
from .voices import (
    Consent,
    EnrollRequest,
    ForgetRequest,
    Forgotten,
    Reference,
    RenameRequest,
    SpeakerVoice,
    Voice,
    VoicePage,
    VoicesRequest,
)
from .windows import Window, WindowReply, WindowRequest, WindowText
from .wire import EXAMPLE_SHA256, Kind, Model, Object, Priority, Queue
from .workers import WorkerInfo, WorkersRequest

TASK_ID: Final = "meeting-2026-11-24"
TURNS_ID: Final = "meeting-2026-11-24-turns"
LIVE_ID: Final = "interview-17"
RECORDING: Final = "meeting.flac"
VOICE_ID: Final = "3f9a0c17d2e4b5860d1c2b3a4f5e6d7c"
WORKER: Final = "gpu-1-4711-9f3c"
HELPER: Final = "0d1c2b3a4f5e6d7c8b9a0f1e2d3c4b5a"
DURATION: Final = 61.5  # seconds
USER: Final = 42
_PLACE: Final = f"1795512600000000000112-{TASK_ID}"


@dataclass(frozen=True, slots=True)
class Example:
    """An example of a message, with a name and a summary; if the message holds sound, `payload` has its headers."""

    name: str
    summary: str
    payload: BaseModel | str


def _at(seconds: float) -> datetime:
    return datetime(2026, 11, 24, 9, 30, tzinfo=timezone.utc) + timedelta(seconds=seconds)


def _event(state: State, sequence: int, seconds: float, **more: object) -> ProgressEvent:
    known = {"task_id": TASK_ID, "kind": Kind.TRANSCRIPTION, "max_attempts": 4, "worker": WORKER}
    known |= {"user_id": USER, "audio_file_id": RECORDING, "priority": Priority.NORMAL}
    return ProgressEvent.model_validate(known | {"state": state, "sequence": sequence, "time": _at(seconds)} | more)


_NO_RECORDING = ErrorDetail(
    code=ErrorCode.AUDIO_NOT_FOUND,
    message="No recording is named 'meeting.flac': upload it to the bucket 'audio', then publish a new task.",
)
_TASK = TranscriptionTask(task_id=TASK_ID, audio_file_id=RECORDING, user_id=USER, language="en", diarize=True)
_TURNS_TASK = DiarizationTask(task_id=TURNS_ID, audio_file_id=RECORDING, user_id=USER, min_speakers=2, max_speakers=4)
SEGMENT = Segment(
    start=0,
    end=2.4,
    text="Good morning.",
    language="en",
    words=[
        Word(start=0, end=0.9, word=" Good", probability=0.97),
        Word(start=0.9, end=2.4, word=" morning.", probability=0.99),
    ],
    confidence=0.98,
    avg_logprob=-0.21,
    no_speech_prob=0.02,
)
RESULT = TranscriptionResult(
    task_id=TASK_ID,
    audio_file_id=RECORDING,
    user_id=USER,
    text=SEGMENT.text,
    language="en",
    languages={"en": 2.4},
    duration=DURATION,
    segments=[SEGMENT.model_copy(update={"speaker": "SPEAKER_00", "words": None})],
    speakers=1,
    model=Model(name="whisper-base", revision="d01c3014881c"),
    audio_sha256=EXAMPLE_SHA256,
    created_at=_at(21),
)
_LARGE_RESULT = RESULT.model_copy(
    update={
        "text": "",
        "segments": [],
        "object": Object(
            bucket="results",
            name=TASK_ID,
            digest="SHA-256=1oHu71buhmdXvKvzY0pJIsGVAJxPuFq918cTaEiG4NE=",
            size=2_400_000,
        ),
    }
)
TURNS = DiarizationResult(
    task_id=TURNS_ID,
    audio_file_id=RECORDING,
    user_id=USER,
    speakers=2,
    segments=[Turn(start=0, end=2.4, speaker="SPEAKER_00"), Turn(start=2.9, end=6.1, speaker="SPEAKER_01")],
    duration=DURATION,
    model=Model(name="segmentation-3.0+campplus", revision="2b64a6b5b311"),
    audio_sha256=EXAMPLE_SHA256,
    created_at=_at(30),
)
_CONSENT = Consent(by="Anna Berg, by e-mail", at=_at(-86400))
VOICE = Voice(
    voice=VOICE_ID,
    name="Anna",
    consent=_CONSENT,
    references=[Reference(task_id=TURNS_ID, speaker="SPEAKER_00", seconds=31.5, at=_at(60))],
    model=Model(name="campplus", revision="7c1f0a9d44e2"),
    comparable=True,
)
_NAMED = RESULT.model_copy(
    update={"voices": {"SPEAKER_00": SpeakerVoice(voice=VOICE_ID, name="Anna", score=0.71)}, "cached": True}
)
_STATUS = TaskStatus(
    task_id=TASK_ID,
    kind=Kind.TRANSCRIPTION,
    task=_TASK,
    priority=Priority.NORMAL,
    state=State.RUNNING,
    stage=Stage.TRANSCRIBING,
    progress=23,
    attempt=1,
    duration_seconds=DURATION,
    eta_seconds=14.2,
    worker=WORKER,
    created_at=_at(0),
    started_at=_at(1),
)
_PROGRESS = (
    Example(
        "queued",
        "Stored: two are before it, and it will be its turn in about five minutes",
        _event(State.QUEUED, 1, 0, queue_position=3, expected_start=_at(300), worker=None),
    ),
    Example(
        "running",
        "23 % of the whole task: 28.4 s of its first stage",
        _event(
            State.RUNNING,
            3,
            8,
            stage=Stage.TRANSCRIBING,
            progress=23,
            processed_seconds=28.4,
            duration_seconds=DURATION,
            eta_seconds=14.2,
        ),
    ),
    Example(
        "retrying",
        "A transient error: the next attempt begins at `retry_at`",
        _event(
            State.RETRYING,
            4,
            9,
            stage=Stage.TRANSCRIBING,
            progress=23,
            retry_at=_at(39),
            error=ErrorDetail(
                code=ErrorCode.ENGINE_FAILED,
                message="The engine process died: if it does so again, give the service more memory.",
            ),
        ),
    ),
    Example(
        "live",
        "A live task: text for 28.4 s, and 1.2 s of sound wait for theirs",
        _event(
            State.RUNNING,
            7,
            31,
            task_id=LIVE_ID,
            audio_file_id=LIVE_ID,
            stage=Stage.TRANSCRIBING,
            processed_seconds=28.4,
            lag_seconds=1.2,
        ),
    ),
    Example(
        "completed",
        "Final: the result is there",
        _event(State.COMPLETED, 9, 60, progress=100, attempt=2, duration_seconds=DURATION),
    ),
    Example("failed", "Final: there is no result", _event(State.FAILED, 3, 2, error=_NO_RECORDING)),
)
_LIVE_STATUS = TaskStatus(
    task_id=LIVE_ID,
    kind=Kind.TRANSCRIPTION,
    task=LiveTask(task_id=LIVE_ID, user_id=USER),
    priority=Priority.NORMAL,
    state=State.RUNNING,
    stage=Stage.TRANSCRIBING,
    progress=0,
    attempt=1,
    lag_seconds=1.2,
    worker=WORKER,
    created_at=_at(0),
    started_at=_at(1),
)
_LETTER = DeadLetter(
    task_id=TASK_ID,
    kind=Kind.TRANSCRIPTION,
    subject="tasks.transcription.normal",
    body=_TASK.model_dump_json(exclude_unset=True),
    body_encoding=BodyEncoding.UTF_8,
    body_truncated=False,
    headers={"Nats-Msg-Id": TASK_ID},
    error=_NO_RECORDING,
    attempts=1,
    stream_sequence=112,
    time=_at(2),
)
_LISTED = ListedTask(
    task_id=TASK_ID,
    kind=Kind.TRANSCRIPTION,
    priority=Priority.NORMAL,
    user_id=USER,
    audio_file_id=RECORDING,
    state=State.RUNNING,
    stage=Stage.TRANSCRIBING,
    progress=23,
    attempt=1,
    duration_seconds=DURATION,
    eta_seconds=14.2,
    worker=WORKER,
    created_at=_at(0),
    started_at=_at(1),
)
WORKER_INFO = WorkerInfo(
    worker=WORKER,
    version="0.3.0",
    started_at=_at(-3600),
    idle=False,
    model=Model(name="whisper-base", revision="d01c3014881c"),
    engine="cpu int8 beam 5",
    audio_store="nats://audio",
    audio_store_answers=True,
    redis_answers=True,
)
_QUEUES = QueueOverview(
    queues=[
        QueueStatus(
            queue=queue,
            kind=queue.kind,
            priority=priority,
            waiting=12 * busy,
            running=2 * busy,
            oldest=_at(0) if busy else None,
            newest_start=_at(300) if busy else None,
        )
        for priority in Priority
        for queue in Queue
        for busy in [priority is Priority.NORMAL and queue is Queue.TRANSCRIPTION]
    ],
    dead_letters=1,
)
_PAGE = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
_SRT = "1\n00:00:00,000 --> 00:00:02,400\nSPEAKER_00: Good morning.\n"

EXAMPLES: Final[dict[str, tuple[Example, ...]]] = {
    "TranscriptionTask": (
        Example("withSpeakers", "A transcript that says who speaks", _TASK),
        Example(
            "least",
            "The least that is needed",
            TranscriptionTask(task_id="meeting-2026-11-25", audio_file_id=RECORDING, user_id=USER),
        ),
        Example(
            "call",
            "A call with a side on each channel, and how its names are spelt",
            TranscriptionTask(
                task_id="call-4711",
                audio_file_id=RECORDING,
                user_id="dispatch",
                vocabulary=("Natscribe", "JetStream"),
                prompt="A call about invoices.",
                channels=Channels.SEPARATE,
            ),
        ),
    ),
    "DiarizationTask": (Example("twoToFour", "Two to four people speak", _TURNS_TASK),),
    "LiveTask": (
        Example("microphone", "One microphone, at 16 kHz", LiveTask(task_id=LIVE_ID, user_id=USER)),
        Example(
            "call",
            "A telephone call with a side on each channel",
            LiveTask(
                task_id="call-4712",
                user_id="dispatch",
                audio=LiveAudio(codec=Codec.MULAW, sample_rate=8000, channels=2),
                language="en",
            ),
        ),
        Example(
            "browser",
            "What a browser records",
            LiveTask(task_id="call-4713", user_id=USER, audio=LiveAudio(codec=Codec.OPUS, sample_rate=48_000)),
        ),
    ),
    "Frame": (
        Example("first", "The first frame", FrameHeaders.model_validate({"Nats-Msg-Id": f"{LIVE_ID}-0"})),
        Example(
            "last",
            "The last of 615 frames",
            FrameHeaders.model_validate({"Nats-Msg-Id": f"{LIVE_ID}-614", "Natscribe-End": "true"}),
        ),
    ),
    "Partial": (
        Example(
            "going",
            "The first word is stable, the others may still change",
            Partial(task_id=LIVE_ID, start=12.4, end=14.0, stable="Good", text="Good morning, shall we", language="en"),
        ),
    ),
    "ProgressEvent": _PROGRESS,
    "SegmentsEvent": (
        Example(
            "first",
            "The beginning, with words and without speakers",
            SegmentsEvent(
                task_id=TASK_ID, attempt=1, sequence=1, language="en", processed_seconds=28.4, segments=[SEGMENT]
            ),
        ),
    ),
    "TranscriptionResult": (
        Example("whole", "A transcript with speakers", RESULT),
        Example("large", "Too large for a message: fetch the object", _LARGE_RESULT),
        Example("named", "A transcript of a task with `identify`, as `tasks.result` replies with it", _NAMED),
    ),
    "DiarizationResult": (Example("twoSpeakers", "Two people take turns", TURNS),),
    "DeadLetter": (Example("noRecording", "A task whose recording was not there", _LETTER),),
    "TaskRequest": (Example("task", "The task that is meant", TaskRequest(task_id=TASK_ID)),),
    "UserRequest": (Example("user", "The user that is meant", UserRequest(user_id=USER)),),
    "ResultRequest": (
        Example("subtitles", "As subtitles", ResultRequest(task_id=TASK_ID, format=ResultFormat.SRT)),
        Example(
            "narrow",
            "As subtitles for a small screen",
            ResultRequest(task_id=TASK_ID, format=ResultFormat.VTT, max_line_chars=32, max_cue_seconds=6),
        ),
        Example("page", "As a page to look at", ResultRequest(task_id=TASK_ID, format=ResultFormat.HTML)),
        Example("json", "As it was published", ResultRequest(task_id=TASK_ID)),
    ),
    "ReplayRequest": (
        Example("oneTask", "One task", ReplayRequest(task_id=TASK_ID)),
        Example("oneError", "All with one error", ReplayRequest(code=ErrorCode.AUDIO_NOT_FOUND)),
    ),
    "DeleteLettersRequest": (
        Example("oneError", "All with one error", DeleteLettersRequest(code=ErrorCode.INVALID_MESSAGE)),
    ),
    "EnrollRequest": (
        Example(
            "new",
            "One of the speakers of a call",
            EnrollRequest(user_id=USER, task_id=TURNS_ID, speaker="SPEAKER_00", name="Anna", consent=_CONSENT),
        ),
        Example(
            "another",
            "One more reference, from a recording of one person",
            EnrollRequest(user_id=USER, task_id=TASK_ID, voice=VOICE_ID, consent=_CONSENT),
        ),
    ),
    "VoicesRequest": (Example("user", "All voices of a user", VoicesRequest(user_id=USER)),),
    "RenameRequest": (
        Example("renamed", "Another name", RenameRequest(user_id=USER, voice=VOICE_ID, name="Anna Berg")),
    ),
    "ForgetRequest": (Example("voice", "The voice that is meant", ForgetRequest(user_id=USER, voice=VOICE_ID)),),
    "Voice": (Example("enrolled", "A person with one reference", VOICE),),
    "VoicePage": (Example("one", "The user has one voice", VoicePage(voices=[VOICE])),),
    "Forgotten": (Example("forgotten", "Nothing is left", Forgotten(voice=VOICE_ID, user_id=USER, at=_at(120))),),
    "TaskStatus": (
        Example("running", "A task that runs", _STATUS),
        Example("live", "A live task: 1.2 s of its sound wait for their text", _LIVE_STATUS),
    ),
    "ListRequest": (
        Example("newest", "The newest tasks", ListRequest()),
        Example("failed", "What has failed of a user", ListRequest(user_id=USER, state=State.FAILED, limit=200)),
    ),
    "TaskPage": (
        Example("onePage", "One task, and older ones are before it", TaskPage(tasks=[_LISTED], more_before=_PLACE)),
    ),
    "QueueRequest": (Example("all", "It has no fields", QueueRequest()),),
    "QueueOverview": (Example("oneBusy", "Twelve transcriptions of normal priority wait", _QUEUES),),
    "WorkersRequest": (Example("all", "It has no fields", WorkersRequest()),),
    "WorkerInfo": (Example("busy", "A worker that runs a task", WORKER_INFO),),
    "Deleted": (
        Example("deleted", "Nothing is left of the task", Deleted()),
        Example("more", "The time is over, and more tasks are left", Deleted(tasks=180, more_after="ended-0")),
    ),
    "Replayed": (Example("one", "One task is queued again", Replayed(replayed=1)),),
    "LettersDeleted": (Example("two", "Two letters are removed", LettersDeleted(deleted=2)),),
    "ErrorReply": (
        Example(
            "notFound",
            "No such task",
            ErrorReply(
                error=ErrorDetail(
                    code=ErrorCode.NOT_FOUND,
                    message=f"No task {TASK_ID} is known: check the id, or publish the task first.",
                )
            ),
        ),
    ),
    "ResultText": (Example("subtitles", "SubRip subtitles", _SRT),),
    "ResultPage": (Example("page", "A page, of which this is the beginning", _PAGE),),
    "WindowRequest": (
        Example(
            "oneWindow",
            "A window of three milliseconds",
            WindowRequest(
                window=Window(regions=[(12.5, 12.503)], samples="AAAA" * 32),
                previous="en",
                model=Model(name="whisper-base", revision="d01c3014881c"),
                fingerprint="0.3.0 cpu int8 beam 5",
            ),
        ),
    ),
    "WindowReply": (
        Example("silence", "No text", WindowReply(worker=HELPER, text=WindowText(segments=[], end=12.503))),
        Example("busy", "The worker has got a task of its own", WindowReply(worker=HELPER, text=None)),
    ),
}
