"""The channels of the contract: who sends which messages on which subject, and who may receive them.

What an entry says is written nowhere else: FastStream's routes and publishers, the AsyncAPI document and the client
read it from here.
"""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final

from . import subjects
from .dead_letters import DeadLetter
from .diarization import DiarizationResult
from .enums import DescribedEnum
from .event_headers import (
    AcceptedHeaders,
    CloudEventHeaders,
    ForgottenHeaders,
    InsideHeaders,
    PartialHeaders,
    SpeakersHeaders,
    TaskEventHeaders,
)
from .headers import FrameHeaders, Headers, RequestHeaders, TaskHeaders
from .kinds import TASKS
from .live import Partial, SpeakersEvent
from .progress import ProgressEvent
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
from .task_list import ListRequest, TaskPage
from .task_queues import QueueOverview, QueueRequest
from .transcription import SegmentsEvent, TranscriptionResult
from .voices import EnrollRequest, ForgetRequest, Forgotten, RenameRequest, Voice, VoicePage, VoicesRequest
from .windows import WindowReply, WindowRequest
from .wire import Lane
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
LOGS: Final = frozenset({"progress", "segments", "speakers", "results", "dead_letters"})


@dataclass(frozen=True, slots=True)
class Channel:
    """A subject, or the subjects of one pattern, with the messages and the roles that use it.

    `subject`: has parameters such as `{task_id}`. `messages`: their classes, all with headers of the class `headers`.
    `replies`: the classes of replies in JSON; empty: the channel has no requests. `has_files`: whether a reply may be a
    file instead. `publishers`, `subscribers`: who may publish and who may subscribe. `stream`: the field of StreamNames
    that names the stream of the messages; empty: they are not stored. `for_each`: whether each worker gets a message,
    in place of one of them. `repeatable`: whether a client may send a request several times, because the reply to any
    copy is valid.

    `name`, `operation`: the ids of the channel in the AsyncAPI document; an internal channel is not in it, and has no
    operation. `description`: its first paragraph is the summary of the operation; empty: the docstring of the handler,
    or of the message that the service sends.
    """

    subject: str
    name: str
    operation: str = ""
    title: str = ""
    tag: Tag = Tag.INSIDE
    messages: tuple[type[Any], ...] = ()  # models, or `bytes`
    replies: tuple[type[Any], ...] = ()
    _: KW_ONLY
    headers: type[Headers] = RequestHeaders
    publishers: tuple[Role, ...] = CLIENTS
    subscribers: tuple[Role, ...] = SERVICE
    stream: str = ""
    has_files: bool = False
    for_each: bool = False
    repeatable: bool = False
    description: str = ""

    @property
    def is_internal(self) -> bool:
        """Whether the channel is not part of the contract, so that the AsyncAPI document omits it."""
        return not self.operation

    @property
    def is_request_of_clients(self) -> bool:
        """Whether clients send requests, and one worker replies to each."""
        return bool(self.replies) and self.publishers != SERVICE and not self.for_each

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

    headers: type[Headers] = TaskEventHeaders
    publishers: tuple[Role, ...] = SERVICE
    subscribers: tuple[Role, ...] = CLIENTS

    @property
    def meaning(self) -> str:
        """The description of the channel: its own, or that of the message."""
        return self.description or self.messages[0].__doc__ or ""


@dataclass(frozen=True, slots=True)
class Internal(Channel):
    """A channel between workers, which is not part of the contract."""

    publishers: tuple[Role, ...] = SERVICE


_PUBLISHING: Final = (
    "There is a task queue for each priority. Publish with JetStream and wait for its acknowledgement: only an "
    "acknowledged task is stored. A full queue refuses the task with an error (err_code 10077); a misspelt priority is "
    "an error, too (no responders; in nats-py `NoStreamResponseError`). A message that is no valid task ends as a "
    "`failed` task if it has a new task id, else it becomes a dead letter."
)
_TASKS: Final = {
    Lane.TRANSCRIPTION: "Transcribe a recording: report progress, publish segments as they are transcribed, then the "
    "result.",
    Lane.DIARIZATION: "Detect who speaks when in a recording: report progress, then publish the result.",
    Lane.LIVE: "Transcribe audio while it is being published: publish segments, and the result at the end.",
}
TASK_QUEUES: Final[Mapping[Lane, Channel]] = {
    lane: Channel(
        subject=subjects.tasks(lane, "{priority}"),
        name=f"{lane}Tasks",
        operation=f"submit{lane.capitalize()}",
        title=f"Submit a {lane.task} task",
        tag=Tag.SUBMIT,
        messages=(TASKS[lane],),
        headers=TaskHeaders,
        publishers=(*SERVICE, *PUBLISHER),  # the service replays dead letters
        subscribers=(),  # JetStream stores tasks; workers start them by grants
        stream="tasks",
        description=f"{summary}\n\n{_PUBLISHING}",
    )
    for lane, summary in _TASKS.items()
}
FRAMES: Final = Channel(
    subjects.live_audio("{task_id}"),
    "liveAudio",
    "publishFrame",
    "Publish live audio",
    Tag.SUBMIT,
    (bytes,),
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
PROGRESS: Final = Event(
    subjects.progress("{task_id}"),
    "progress",
    "followProgress",
    "Task progress",
    Tag.FOLLOW,
    (ProgressEvent,),
    subscribers=(*SERVICE, *CLIENTS),
    stream="progress",
)
SEGMENTS: Final = Event(
    subjects.segments("{task_id}"),
    "segments",
    "followSegments",
    "Live segments",
    Tag.FOLLOW,
    (SegmentsEvent,),
    stream="segments",
)
SPEAKERS: Final = Event(
    subjects.speakers("{task_id}"),
    "speakers",
    "followSpeakers",
    "Live speakers",
    Tag.FOLLOW,
    (SpeakersEvent,),
    headers=SpeakersHeaders,
    stream="speakers",
)
PARTIALS: Final = Event(
    subjects.partials("{task_id}"),
    "partials",
    "followPartials",
    "Partial results",
    Tag.FOLLOW,
    (Partial,),
    headers=PartialHeaders,
)
RESULTS: Final = Event(
    subjects.results("{task_id}"),
    "results",
    "receiveResult",
    "Results",
    Tag.FOLLOW,
    (TranscriptionResult, DiarizationResult),
    stream="results",
    description="The result of a task.\n\n"
    "One message for each task, stored just before `completed`. If `object` is not null, the whole result is in the "
    "bucket for results under the task id: download it there. A reader of the stream needs the filter `results.*`: the "
    "stream also has the internal `no_results.*`.",
)
STATUS: Final = Channel(
    subjects.STATUS,
    "statusRequests",
    "askStatus",
    "Task status",
    Tag.ASK,
    (TaskRequest,),
    (TaskStatus,),
    repeatable=True,
)
RESULT: Final = Channel(
    subjects.RESULT,
    "resultRequests",
    "askResult",
    "Result in a format",
    Tag.ASK,
    (ResultRequest,),
    (TranscriptionResult, DiarizationResult),
    has_files=True,
    repeatable=True,
)
LIST: Final = Channel(
    subjects.LIST, "listRequests", "listTasks", "List tasks", Tag.ASK, (ListRequest,), (TaskPage,), repeatable=True
)
QUEUE: Final = Channel(
    subjects.TASK_QUEUES,
    "queueRequests",
    "askQueue",
    "Task queues",
    Tag.ASK,
    (QueueRequest,),
    (QueueOverview,),
    repeatable=True,
)
WORKERS: Final = Channel(
    subjects.WORKERS,
    "workerRequests",
    "askWorkers",
    "Workers",
    Tag.ASK,
    (WorkersRequest,),
    (WorkerInfo,),
    for_each=True,
)
CANCEL: Final = Channel(
    subjects.CANCEL,
    "cancelRequests",
    "cancelTask",
    "Cancel a task",
    Tag.ASK,
    (TaskRequest,),
    (TaskStatus,),
    publishers=PUBLISHER,
    repeatable=True,
)
DELETE: Final = Channel(
    subjects.DELETE,
    "deleteRequests",
    "deleteTask",
    "Delete a task or a user",
    Tag.ASK,
    (TaskRequest, UserRequest),
    (Deleted,),
    publishers=PUBLISHER,
)
ENROLL: Final = Channel(
    subjects.ENROLL,
    "enrollRequests",
    "enrollVoice",
    "Enrol a voice",
    Tag.NAME,
    (EnrollRequest,),
    (Voice,),
    publishers=PUBLISHER,
)
VOICES: Final = Channel(
    subjects.VOICES,
    "voicesRequests",
    "listVoices",
    "List voices",
    Tag.NAME,
    (VoicesRequest,),
    (VoicePage,),
    publishers=PUBLISHER,
    repeatable=True,
)
RENAME: Final = Channel(
    subjects.RENAME,
    "renameRequests",
    "renameVoice",
    "Rename a voice",
    Tag.NAME,
    (RenameRequest,),
    (Voice,),
    publishers=PUBLISHER,
)
FORGET: Final = Channel(
    subjects.FORGET,
    "forgetRequests",
    "forgetVoice",
    "Forget a voice",
    Tag.NAME,
    (ForgetRequest,),
    (Forgotten,),
    publishers=PUBLISHER,
)
FORGOTTEN: Final = Event(
    subjects.forgotten("{voice}"),
    "forgottenVoices",
    "followForgotten",
    "Forgotten voices",
    Tag.NAME,
    (Forgotten,),
    headers=ForgottenHeaders,
)
DEAD_LETTERS: Final = Event(
    subjects.dead_letters("{kind}"),
    "deadLetters",
    "watchDeadLetters",
    "Dead letters",
    Tag.OPERATE,
    (DeadLetter,),
    headers=CloudEventHeaders,
    subscribers=OPERATOR,
    stream="dead_letters",
)
REPLAY: Final = Channel(
    subjects.REPLAY,
    "replayRequests",
    "replayDeadLetters",
    "Replay dead letters",
    Tag.OPERATE,
    (ReplayRequest,),
    (Replayed,),
    publishers=OPERATOR,
)
DELETE_LETTERS: Final = Channel(
    subjects.DELETE_LETTERS,
    "letterDeletionRequests",
    "deleteDeadLetters",
    "Delete dead letters",
    Tag.OPERATE,
    (DeleteLettersRequest,),
    (LettersDeleted,),
    publishers=OPERATOR,
)
ACCEPTED: Final[Mapping[Lane, Channel]] = {
    lane: Channel(
        subject=subjects.accepted(lane, "{priority}"),
        name=f"accepted{lane.capitalize()}Tasks",
        operation=f"accept{lane.capitalize()}",
        title=f"Accepted {lane.task} tasks",
        messages=(TASKS[lane],),
        headers=AcceptedHeaders,
        publishers=(),  # JetStream republishes tasks there
    )
    for lane in Lane
}
WINDOWS: Final = Channel(
    subjects.windows("{engine}"),
    "windowRequests",
    "transcribeWindow",
    "Shared windows",
    Tag.INSIDE,
    (WindowRequest,),
    (WindowReply,),
    headers=InsideHeaders,
    publishers=SERVICE,
)
NO_RESULTS: Final = Internal(subjects.no_results("{task_id}"), "noResults", subscribers=(), stream="results")
GRANTS: Final = Internal(subjects.ready("{slots}", "{sequence}"), "grants", subscribers=(), stream="ready")
REMOVED: Final = Internal(subjects.REMOVED, "removedTasks")
POSITIONS: Final = Internal(subjects.POSITIONS, "positions")
REMINDERS: Final = Internal(
    subjects.reminder("{user}", "{recording}", "{task_id}"), "reminders", subscribers=(), stream="retention"
)
DUE: Final = Internal(
    subjects.due("{user}", "{recording}", "{task_id}"), "due", publishers=(), subscribers=(), stream="retention"
)
LEASE: Final = Internal("fleet.{key}", "lease", publishers=())  # JetStream republishes the bucket there
QUOTAS: Final = Internal("quotas.{user}", "quotas", publishers=())

CHANNELS: Final = (
    *TASK_QUEUES.values(),
    *(FRAMES, PROGRESS, SEGMENTS, SPEAKERS, PARTIALS, RESULTS),
    *(STATUS, RESULT, LIST, QUEUE, WORKERS, CANCEL, DELETE),
    *(ENROLL, VOICES, RENAME, FORGET, FORGOTTEN),
    *(DEAD_LETTERS, REPLAY, DELETE_LETTERS),
    *ACCEPTED.values(),
    WINDOWS,
    *(NO_RESULTS, GRANTS, REMOVED, POSITIONS, REMINDERS, DUE, LEASE, QUOTAS),
)
