"""The channels of the contract: who sends which messages on which subject, and who may receive them.

What an entry says is written nowhere else: FastStream's routes and publishers, the AsyncAPI document, accounts.conf,
the tables of docs/access.md and docs/contract.md, and the client read it from here. The channels between workers are in
`app/storage/jetstream/channels.py`.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from functools import partial
from types import UnionType
from typing import Any, Final, get_args

from . import subjects
from .dead_letters import DeadLetter
from .enums import DescribedEnum
from .erased import Erased
from .event_headers import (
    CloudEventHeaders,
    ErasedHeaders,
    ForgottenHeaders,
    PartialHeaders,
    SpeakersHeaders,
    TaskEventHeaders,
)
from .headers import FrameHeaders, Headers, RequestHeaders, TaskHeaders
from .kinds import TASKS, Result
from .live import Partial, SpeakersEvent, TurnEvent
from .progress import ProgressEvent
from .redaction import Redacted, RedactRequest
from .requests import (
    Deleted,
    DeleteLettersRequest,
    LettersDeleted,
    Replayed,
    ReplayRequest,
    ResultRequest,
    TaskRequest,
    TaskStatus,
    UserRequest,
)
from .services import SERVICE_NAME, DiscoveryRequest, ServiceInfo, ServicePing, ServiceStats
from .task_list import ListRequest, TaskPage
from .task_queues import QueueOverview, QueueRequest
from .transcription import SegmentsEvent
from .voices import EnrollRequest, ForgetRequest, Forgotten, RenameRequest, Voice, VoicePage, VoicesRequest
from .wire import TaskType
from .workers import WorkerInfo, WorkersRequest


class Tag(DescribedEnum):
    """A group in which the AsyncAPI document lists channels."""

    SUBMIT = "submit", "Submit tasks."
    FOLLOW = "follow", "Follow tasks and read results."
    ASK = "ask", "Query, cancel and delete tasks."
    NAME = "name", "Voices."
    OPERATE = "operate", "For operators."
    INSIDE = "inside", "Between workers: not for clients."


class Role(DescribedEnum):
    """A user of NATS that may use channels."""

    SERVICE = "service", "The workers."
    PUBLISHER = "publisher", "Programs that publish tasks."
    FOLLOWER = "follower", "Programs that only read."
    OPERATOR = "operator", "People who operate the queue."


SERVICE: Final = (Role.SERVICE,)
PUBLISHER: Final = (Role.PUBLISHER,)
OPERATOR: Final = (Role.OPERATOR,)
CLIENTS: Final = (Role.PUBLISHER, Role.FOLLOWER, Role.OPERATOR)
LOGS: Final = frozenset({"progress", "segments", "speakers", "results", "erased", "dead_letters"})


Messages = type[Any] | UnionType  # models, or bytes


@dataclass(frozen=True, slots=True)
class Channel:
    """A subject, or the subjects of one pattern, with the messages and the roles that use it.

    `subject`: has parameters such as `{task_id}`. `name`, `operation`: the ids of the channel in the AsyncAPI document;
    an internal channel is not in it, and has no operation. `message`: a class, or a union of classes, all with headers
    of the class `headers`. `reply`: the same of replies in JSON; None: the channel has no requests.

    `publishers`, `subscribers`: who may publish and who may subscribe. `stream`: the field of StreamNames that names
    the stream of the messages; empty: they are not stored. `has_files`: whether a reply may be a file. `for_each`:
    whether each worker gets a message, in place of one of them. `repeatable`: whether a client may send a request
    several times, because the reply to any copy is valid. `description`: its first paragraph is the summary of the
    operation; empty: the docstring of the handler, or of the message that the service sends.
    """

    subject: str
    name: str
    operation: str = ""
    title: str = ""
    message: Messages = bytes
    reply: Messages | None = None
    _: KW_ONLY
    tag: Tag = Tag.ASK
    headers: type[Headers] = RequestHeaders
    publishers: tuple[Role, ...] = CLIENTS
    subscribers: tuple[Role, ...] = SERVICE
    stream: str = ""
    has_files: bool = False
    for_each: bool = False
    repeatable: bool = False
    description: str = ""

    @property
    def messages(self) -> tuple[type[Any], ...]:
        """The classes of the messages."""
        return get_args(self.message) or (self.message,)

    @property
    def replies(self) -> tuple[type[Any], ...]:
        """The classes of the replies in JSON."""
        return get_args(self.reply) or ((self.reply,) if self.reply else ())

    @property
    def is_internal(self) -> bool:
        """Whether the channel is not part of the contract, so that the AsyncAPI document omits it."""
        return not self.operation

    @property
    def is_request_of_clients(self) -> bool:
        """Whether clients send requests, and one worker replies to each."""
        return bool(self.reply) and self.publishers != SERVICE and not self.for_each

    @property
    def group(self) -> str:
        """The queue group in which workers subscribe, so that one of them gets each message; empty: there is none."""
        return "" if self.stream or self.for_each or isinstance(self, Event) else subjects.QUEUE_GROUP

    @property
    def is_appended(self) -> bool:
        """Whether the service publishes the messages on the append subject of their log."""
        return self.stream in LOGS


@dataclass(frozen=True, slots=True)
class Event(Channel):
    """A channel on which the service sends."""

    tag: Tag = Tag.FOLLOW
    headers: type[Headers] = TaskEventHeaders
    publishers: tuple[Role, ...] = SERVICE
    subscribers: tuple[Role, ...] = CLIENTS

    @property
    def meaning(self) -> str:
        """The description of the channel: its own, or that of the message."""
        return self.description or self.messages[0].__doc__ or ""


_ID: Final = "{task_id}"
_of_publisher = partial(Channel, publishers=PUBLISHER)
_of_operator = partial(Channel, tag=Tag.OPERATE, publishers=OPERATOR)
_about_voices = partial(Channel, tag=Tag.NAME, publishers=PUBLISHER)
_PUBLISHING: Final = (
    "There is a task queue for each priority. Publish with JetStream and wait for its acknowledgement: only an "
    "acknowledged task is stored. A full queue refuses the task with an error (err_code 10077); a misspelt priority is "
    "an error, too (no responders; in nats-py `NoStreamResponseError`). A message that is no valid task ends as a "
    "`failed` task if it has a new task id, else it becomes a dead letter."
)
_TASKS: Final = {
    TaskType.TRANSCRIPTION: "Transcribe a recording: report progress, publish segments as they are transcribed, then "
    "the result.",
    TaskType.DIARIZATION: "Detect who speaks when in a recording: report progress, then publish the result.",
    TaskType.LIVE: "Transcribe audio while it is being published: publish segments, and the result at the end.",
}
TASK_QUEUES: Mapping[TaskType, Channel] = {
    task_type: Channel(
        subjects.tasks(task_type, "{priority}"),
        f"{task_type}Tasks",
        f"submit{task_type.capitalize()}",
        f"Submit a {task_type.task} task",
        TASKS[task_type],
        tag=Tag.SUBMIT,
        headers=TaskHeaders,
        publishers=(*SERVICE, *PUBLISHER),  # the service replays dead letters
        subscribers=(),  # JetStream stores tasks; workers start them by grants
        stream="tasks",
        description=f"{summary}\n\n{_PUBLISHING}",
    )
    for task_type, summary in _TASKS.items()
}
FRAMES = Channel(
    subjects.live_audio("{task_id}"),
    "liveAudio",
    "publishFrame",
    "Publish live audio",
    tag=Tag.SUBMIT,
    headers=FrameHeaders,
    publishers=PUBLISHER,
    stream="live",
    description="Publish the audio of a live task, frame by frame.\n\n"
    "One message for each frame, 20 ms to 1 s of audio, before or after the task itself. Publish with JetStream, with "
    "at most 8 frames unacknowledged, and publish an unacknowledged frame again under the same number. A missing "
    "number is a gap: with `opus` the task fails; with the other codecs the gap is silence and listed in "
    "`untranscribed`. A full stream refuses frames with an error (err_code 10077): publish them again later. The audio "
    "ends with the last frame, or after `idle_seconds` without a frame.",
)
PROGRESS = Event(
    subjects.progress(_ID),
    "progress",
    "followProgress",
    "Task progress",
    ProgressEvent,
    subscribers=(*SERVICE, *CLIENTS),
    stream="progress",
)
SEGMENTS = Event(
    subjects.segments(_ID), "segments", "followSegments", "Live segments", SegmentsEvent, stream="segments"
)
SPEAKERS = Event(
    subjects.speakers(_ID),
    "speakers",
    "followSpeakers",
    "Live speakers",
    SpeakersEvent,
    headers=SpeakersHeaders,
    stream="speakers",
)
PARTIALS = Event(
    subjects.partials(_ID), "partials", "followPartials", "Partial results", Partial, headers=PartialHeaders
)
TURNS = Event(subjects.turns(_ID), "turns", "followTurns", "Turns", TurnEvent, headers=PartialHeaders)
RESULTS = Event(
    subjects.results(_ID),
    "results",
    "receiveResult",
    "Results",
    Result,
    stream="results",
    description="The result of a task.\n\n"
    "One message for each task, stored just before `completed`. If `object` is not null, the whole result is in the "
    "bucket for results under the task id: download it there. A reader of the stream needs the filter `results.*`: the "
    "stream also has the internal `no_results.*`.",
)
ERASED = Event(
    subjects.erased(_ID), "erased", "followErased", "Erased tasks", Erased, headers=ErasedHeaders, stream="erased"
)
STATUS = Channel(
    subjects.STATUS, "statusRequests", "askStatus", "Task status", TaskRequest, TaskStatus, repeatable=True
)
RESULT = Channel(
    subjects.RESULT,
    "resultRequests",
    "askResult",
    "Result in a format",
    ResultRequest,
    Result,
    repeatable=True,
    has_files=True,
)
LIST = Channel(subjects.LIST, "listRequests", "listTasks", "List tasks", ListRequest, TaskPage, repeatable=True)
QUEUE = Channel(
    subjects.TASK_QUEUES, "queueRequests", "askQueue", "Task queues", QueueRequest, QueueOverview, repeatable=True
)
WORKERS = Channel(
    subjects.WORKERS, "workerRequests", "askWorkers", "Workers", WorkersRequest, WorkerInfo, for_each=True
)
CANCEL = _of_publisher(
    subjects.CANCEL, "cancelRequests", "cancelTask", "Cancel a task", TaskRequest, TaskStatus, repeatable=True
)
DELETE = _of_publisher(
    subjects.DELETE, "deleteRequests", "deleteTask", "Delete a task or a user", TaskRequest | UserRequest, Deleted
)
REDACT = _of_publisher(
    subjects.REDACT, "redactRequests", "redactText", "Redact a text", RedactRequest, Redacted, repeatable=True
)
ENROLL = _about_voices(subjects.ENROLL, "enrollRequests", "enrollVoice", "Enrol a voice", EnrollRequest, Voice)
VOICES = _about_voices(
    subjects.VOICES, "voicesRequests", "listVoices", "List voices", VoicesRequest, VoicePage, repeatable=True
)
RENAME = _about_voices(subjects.RENAME, "renameRequests", "renameVoice", "Rename a voice", RenameRequest, Voice)
FORGET = _about_voices(subjects.FORGET, "forgetRequests", "forgetVoice", "Forget a voice", ForgetRequest, Forgotten)
FORGOTTEN = Event(
    subjects.forgotten("{voice}"),
    "forgottenVoices",
    "followForgotten",
    "Forgotten voices",
    Forgotten,
    tag=Tag.NAME,
    headers=ForgottenHeaders,
)
DEAD_LETTERS = Event(
    subjects.dead_letters("{kind}"),
    "deadLetters",
    "watchDeadLetters",
    "Dead letters",
    DeadLetter,
    tag=Tag.OPERATE,
    headers=CloudEventHeaders,
    subscribers=OPERATOR,
    stream="dead_letters",
)
REPLAY = _of_operator(
    subjects.REPLAY, "replayRequests", "replayDeadLetters", "Replay dead letters", ReplayRequest, Replayed
)
DELETE_LETTERS = _of_operator(
    subjects.DELETE_LETTERS,
    "letterDeletionRequests",
    "deleteDeadLetters",
    "Delete dead letters",
    DeleteLettersRequest,
    LettersDeleted,
)
DISCOVERY = tuple(
    _of_operator(
        f"$SRV.{{verb}}{whom}",
        f"{name}Requests",
        name,
        title,
        DiscoveryRequest,
        ServicePing | ServiceInfo | ServiceStats,
        for_each=True,
        description="Discover workers as instances of a NATS service, as `nats micro` does (ADR-32).\n\n"
        "The body of the request is ignored. Subscribe to an inbox, publish the request with that inbox as its reply "
        "subject, and collect replies. The numbers of requests and errors are those of one worker since its start.",
    )
    for whom, name, title in (
        ("", "discoverServices", "Discover all services"),
        (f".{SERVICE_NAME}", "discoverService", "Discover the workers"),
        (f".{SERVICE_NAME}.{{instance}}", "discoverInstance", "Discover one worker"),
    )
)
CHANNELS = (
    *TASK_QUEUES.values(),
    *(FRAMES, PROGRESS, SEGMENTS, SPEAKERS, PARTIALS, TURNS, RESULTS, ERASED),
    *(STATUS, RESULT, LIST, QUEUE, WORKERS, CANCEL, DELETE, REDACT),
    *(ENROLL, VOICES, RENAME, FORGET, FORGOTTEN),
    *(DEAD_LETTERS, REPLAY, DELETE_LETTERS),
    *DISCOVERY,
)
