"""The channels of the contract: who sends which messages on which subject, and who may receive them.

What an entry says is written nowhere else: FastStream's routes and publishers, the AsyncAPI document and the client
read it from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A subject, or the subjects of one pattern, with the messages and the roles that use it.

    `subject`: has parameters such as `{task_id}`. `messages`: their classes, all with headers of the class `headers`.
    `replies`: the classes of replies in JSON; empty: the channel has no requests. `has_files`: whether a reply may be a
    file instead. `publishers`, `subscribers`: who may publish and who may subscribe. `stream`: the field of StreamNames
    that names the stream of the messages; empty: they are not stored. `group`: the queue group in which workers
    subscribe, so that one of them gets each message. `repeatable`: whether a client may send a request several times,
    because the reply to any copy is valid.

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
    headers: type[Headers] = RequestHeaders
    replies: tuple[type[Any], ...] = ()
    has_files: bool = False
    publishers: tuple[Role, ...] = SERVICE
    subscribers: tuple[Role, ...] = SERVICE
    stream: str = ""
    group: str = ""
    repeatable: bool = False
    description: str = ""

    @property
    def is_internal(self) -> bool:
        """Whether the channel is not part of the contract, so that the AsyncAPI document omits it."""
        return not self.operation

    @property
    def is_sent(self) -> bool:
        """Whether the service sends the messages, and others receive them."""
        return self.publishers == SERVICE != self.subscribers

    @property
    def meaning(self) -> str:
        """The description of the channel of a message that the service sends: its own, or that of the message."""
        return self.description or self.messages[0].__doc__ or ""

    @property
    def is_appended(self) -> bool:
        """Whether the service publishes the messages on the append subject of their log."""
        return self.stream in LOGS


def _request(subject: str, name: str, operation: str, title: str, tag: Tag = Tag.ASK, **entry: Any) -> Channel:
    defaults = {"publishers": CLIENTS, "group": subjects.QUEUE_GROUP}
    return Channel(
        subject=subject, name=f"{name}Requests", operation=operation, title=title, tag=tag, **{**defaults, **entry}
    )


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
    subject=subjects.live_audio("{task_id}"),
    name="liveAudio",
    operation="publishFrame",
    title="Publish live audio",
    tag=Tag.SUBMIT,
    messages=(bytes,),
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
PROGRESS: Final = Channel(
    subject=subjects.progress("{task_id}"),
    name="progress",
    operation="followProgress",
    title="Task progress",
    tag=Tag.FOLLOW,
    messages=(ProgressEvent,),
    headers=TaskEventHeaders,
    subscribers=(*SERVICE, *CLIENTS),
    stream="progress",
)
SEGMENTS: Final = Channel(
    subject=subjects.segments("{task_id}"),
    name="segments",
    operation="followSegments",
    title="Live segments",
    tag=Tag.FOLLOW,
    messages=(SegmentsEvent,),
    headers=TaskEventHeaders,
    subscribers=CLIENTS,
    stream="segments",
)
SPEAKERS: Final = Channel(
    subject=subjects.speakers("{task_id}"),
    name="speakers",
    operation="followSpeakers",
    title="Live speakers",
    tag=Tag.FOLLOW,
    messages=(SpeakersEvent,),
    headers=SpeakersHeaders,
    subscribers=CLIENTS,
    stream="speakers",
)
PARTIALS: Final = Channel(
    subject=subjects.partials("{task_id}"),
    name="partials",
    operation="followPartials",
    title="Partial results",
    tag=Tag.FOLLOW,
    messages=(Partial,),
    headers=PartialHeaders,
    subscribers=CLIENTS,
)
RESULTS: Final = Channel(
    subject=subjects.results("{task_id}"),
    name="results",
    operation="receiveResult",
    title="Results",
    tag=Tag.FOLLOW,
    messages=(TranscriptionResult, DiarizationResult),
    headers=TaskEventHeaders,
    subscribers=CLIENTS,
    stream="results",
    description="The result of a task.\n\n"
    "One message for each task, stored just before `completed`. If `object` is not null, the whole result is in the "
    "bucket for results under the task id: download it there. A reader of the stream needs the filter `results.*`: the "
    "stream also has the internal `no_results.*`.",
)
STATUS: Final = _request(
    subjects.STATUS,
    "status",
    "askStatus",
    "Task status",
    messages=(TaskRequest,),
    replies=(TaskStatus,),
    repeatable=True,
)
RESULT: Final = _request(
    subjects.RESULT,
    "result",
    "askResult",
    "Result in a format",
    messages=(ResultRequest,),
    replies=(TranscriptionResult, DiarizationResult),
    has_files=True,
    repeatable=True,
)
LIST: Final = _request(
    subjects.LIST, "list", "listTasks", "List tasks", messages=(ListRequest,), replies=(TaskPage,), repeatable=True
)
QUEUE: Final = _request(
    subjects.TASK_QUEUES,
    "queue",
    "askQueue",
    "Task queues",
    messages=(QueueRequest,),
    replies=(QueueOverview,),
    repeatable=True,
)
WORKERS: Final = _request(
    subjects.WORKERS,
    "worker",
    "askWorkers",
    "Workers",
    messages=(WorkersRequest,),
    replies=(WorkerInfo,),
    group="",  # each worker replies
)
CANCEL: Final = _request(
    subjects.CANCEL,
    "cancel",
    "cancelTask",
    "Cancel a task",
    messages=(TaskRequest,),
    replies=(TaskStatus,),
    publishers=PUBLISHER,
    repeatable=True,
)
DELETE: Final = _request(
    subjects.DELETE,
    "delete",
    "deleteTask",
    "Delete a task or a user",
    messages=(TaskRequest, UserRequest),
    replies=(Deleted,),
    publishers=PUBLISHER,
)
ENROLL: Final = _request(
    subjects.ENROLL,
    "enroll",
    "enrollVoice",
    "Enrol a voice",
    Tag.NAME,
    messages=(EnrollRequest,),
    replies=(Voice,),
    publishers=PUBLISHER,
)
VOICES: Final = _request(
    subjects.VOICES,
    "voices",
    "listVoices",
    "List voices",
    Tag.NAME,
    messages=(VoicesRequest,),
    replies=(VoicePage,),
    publishers=PUBLISHER,
    repeatable=True,
)
RENAME: Final = _request(
    subjects.RENAME,
    "rename",
    "renameVoice",
    "Rename a voice",
    Tag.NAME,
    messages=(RenameRequest,),
    replies=(Voice,),
    publishers=PUBLISHER,
)
FORGET: Final = _request(
    subjects.FORGET,
    "forget",
    "forgetVoice",
    "Forget a voice",
    Tag.NAME,
    messages=(ForgetRequest,),
    replies=(Forgotten,),
    publishers=PUBLISHER,
)
FORGOTTEN: Final = Channel(
    subject=subjects.forgotten("{voice}"),
    name="forgottenVoices",
    operation="followForgotten",
    title="Forgotten voices",
    tag=Tag.NAME,
    messages=(Forgotten,),
    headers=ForgottenHeaders,
    subscribers=CLIENTS,
)
DEAD_LETTERS: Final = Channel(
    subject=subjects.dead_letters("{kind}"),
    name="deadLetters",
    operation="watchDeadLetters",
    title="Dead letters",
    tag=Tag.OPERATE,
    messages=(DeadLetter,),
    headers=CloudEventHeaders,
    subscribers=OPERATOR,
    stream="dead_letters",
)
REPLAY: Final = _request(
    subjects.REPLAY,
    "replay",
    "replayDeadLetters",
    "Replay dead letters",
    Tag.OPERATE,
    messages=(ReplayRequest,),
    replies=(Replayed,),
    publishers=OPERATOR,
)
DELETE_LETTERS: Final = _request(
    subjects.DELETE_LETTERS,
    "letterDeletion",
    "deleteDeadLetters",
    "Delete dead letters",
    Tag.OPERATE,
    messages=(DeleteLettersRequest,),
    replies=(LettersDeleted,),
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
        group=subjects.QUEUE_GROUP,
    )
    for lane in Lane
}
WINDOWS: Final = Channel(
    subject=subjects.windows("{engine}"),
    name="windowRequests",
    operation="transcribeWindow",
    title="Shared windows",
    messages=(WindowRequest,),
    headers=InsideHeaders,
    replies=(WindowReply,),
    group=subjects.QUEUE_GROUP,
)
NO_RESULTS: Final = Channel(subject=subjects.no_results("{task_id}"), name="noResults", stream="results")
GRANTS: Final = Channel(subject=subjects.ready("{slots}", "{sequence}"), name="grants", stream="ready")
REMOVED: Final = Channel(subject=subjects.REMOVED, name="removedTasks")
POSITIONS: Final = Channel(subject=subjects.POSITIONS, name="positions")
REMINDERS: Final = Channel(
    subject=subjects.reminder("{user}", "{recording}", "{task_id}"), name="reminders", stream="retention"
)
DUE: Final = Channel(subject=subjects.due("{user}", "{recording}", "{task_id}"), name="due", stream="retention")
LEASE: Final = Channel(subject="fleet.{key}", name="lease", publishers=())  # JetStream republishes the bucket there
QUOTAS: Final = Channel(subject="quotas.{user}", name="quotas", publishers=())

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
