"""The messages of the AsyncAPI document: payload, headers, examples and descriptions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.diarization import DiarizationResult, DiarizationTask
from natscribe.schemas.errors import ErrorReply
from natscribe.schemas.examples import EXAMPLES, Example
from natscribe.schemas.headers import FrameHeaders, Headers, RequestHeaders, TaskHeaders
from natscribe.schemas.live import LARGEST_FRAME_BYTES, LiveTask, Partial
from natscribe.schemas.progress import ProgressEvent
from natscribe.schemas.requests import (
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
from natscribe.schemas.task_list import ListRequest, TaskPage
from natscribe.schemas.task_queues import QueueOverview, QueueRequest
from natscribe.schemas.transcription import SegmentsEvent, TranscriptionResult, TranscriptionTask
from natscribe.schemas.voices import (
    EnrollRequest,
    ForgetRequest,
    Forgotten,
    RenameRequest,
    Voice,
    VoicePage,
    VoicesRequest,
)
from natscribe.schemas.windows import WindowReply, WindowRequest
from natscribe.schemas.workers import WorkerInfo, WorkersRequest
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.asyncapi.headers import (
    AcceptedHeaders,
    CloudEventHeaders,
    ForgottenHeaders,
    InsideHeaders,
    PageReplyHeaders,
    PartialHeaders,
    ReplyHeaders,
    TaskEventHeaders,
    TextReplyHeaders,
)
from app.asyncapi.node import Node

CORRELATIONS: Final = {
    "taskId": {"location": "$message.payload#/task_id", "description": "All messages about a task have its id."},
    "frameId": {
        "location": "$message.header#/Nats-Msg-Id",
        "description": "The task id stands before the last hyphen, the number of the frame behind it.",
    },
    "voiceId": {
        "location": "$message.payload#/voice",
        "description": "The service makes the id; results have it beside the name.",
    },
    "requestId": {
        "location": "$message.header#/correlation_id",
        "description": "NATS delivers the reply to the inbox of the request; the reply repeats the header.",
    },
}


@dataclass(frozen=True, slots=True)
class MessageWords:
    """One message: its payload, its headers and its description."""

    payload: type[BaseModel] | type[str] | type[bytes]
    headers: type[Headers]
    title: str
    summary: str
    alias: str | None = None

    @property
    def name(self) -> str:
        """The name of the message: its alias if it has one, else the name of its payload."""
        return self.alias or self.payload.__name__

    @property
    def is_reply(self) -> bool:
        """Whether the message is a reply."""
        return issubclass(self.headers, ReplyHeaders | TextReplyHeaders | PageReplyHeaders)

    @property
    def is_inside(self) -> bool:
        """Whether only workers send and receive the message."""
        return issubclass(self.headers, AcceptedHeaders | InsideHeaders)

    @property
    def node(self) -> Node:
        """The message as a part of the AsyncAPI document."""
        return {
            "name": self.name,
            "title": self.title,
            "summary": self.summary,
            "contentType": self._content_type,
            "correlationId": {"$ref": f"#/components/correlationIds/{self._correlation}"},
            "headers": _reference(self.headers),
            "payload": _reference(self.payload) if issubclass(self.payload, BaseModel) else _BODIES[self.payload],
            "examples": [_example(self, example) for example in _examples(self)],
        }

    @property
    def _content_type(self) -> str:
        if self.payload is bytes:
            return "application/octet-stream"
        field = self.headers.model_fields.get("content_type")
        return field.default if self.payload is str and field else "application/json"

    @property
    def _correlation(self) -> str:
        if self.payload is bytes:
            return "frameId"
        if self.headers is ForgottenHeaders:
            return "voiceId"
        return "requestId" if issubclass(self.headers, RequestHeaders) or self.is_reply else "taskId"


MESSAGES: Final = (
    MessageWords(TranscriptionTask, TaskHeaders, "Transcription task", "Asks for the text of a recording."),
    MessageWords(DiarizationTask, TaskHeaders, "Diarization task", "Asks who speaks when."),
    MessageWords(LiveTask, TaskHeaders, "Live task", "Asks for the text of sound that is published meanwhile."),
    MessageWords(bytes, FrameHeaders, "Frame", "A little of the sound of a live task: 20 ms to 1 s.", alias="Frame"),
    MessageWords(Partial, PartialHeaders, "Partial", "The text so far of what is being said at this moment."),
    MessageWords(ProgressEvent, TaskEventHeaders, "Progress event", "One event of a task."),
    MessageWords(SegmentsEvent, TaskEventHeaders, "Segments event", "The text since the previous segments event."),
    MessageWords(TranscriptionResult, TaskEventHeaders, "Transcript", "The text of a recording."),
    MessageWords(DiarizationResult, TaskEventHeaders, "Turns", "Who speaks when in a recording."),
    MessageWords(DeadLetter, CloudEventHeaders, "Dead letter", "A task message that failed for good, and why."),
    MessageWords(TaskRequest, RequestHeaders, "Task request", "Names a task."),
    MessageWords(UserRequest, RequestHeaders, "User request", "Names all tasks of a user."),
    MessageWords(ResultRequest, RequestHeaders, "Result request", "Names a task and the format of its result."),
    MessageWords(ListRequest, RequestHeaders, "List request", "Asks for the newest tasks."),
    MessageWords(QueueRequest, RequestHeaders, "Queue request", "Asks for the state of the task queues."),
    MessageWords(WorkersRequest, RequestHeaders, "Workers request", "Asks each worker what it is."),
    MessageWords(ReplayRequest, RequestHeaders, "Replay request", "Chooses dead letters by exactly one field."),
    MessageWords(
        DeleteLettersRequest, RequestHeaders, "Deletion of dead letters", "Chooses dead letters by exactly one field."
    ),
    MessageWords(TaskStatus, ReplyHeaders, "Task status", "The current status of a task."),
    MessageWords(
        TranscriptionResult,
        ReplyHeaders,
        "Transcript",
        "The transcript, as it was published.",
        alias="TranscriptionResultReply",
    ),
    MessageWords(
        DiarizationResult, ReplyHeaders, "Turns", "The turns, as they were published.", alias="DiarizationResultReply"
    ),
    MessageWords(
        str, TextReplyHeaders, "Result as text", "Text, subtitles or RTTM: the body is the file.", alias="ResultText"
    ),
    MessageWords(
        str,
        PageReplyHeaders,
        "Result as a page",
        "Only for who asks for `html`: the body is the page.",
        alias="ResultPage",
    ),
    MessageWords(TaskPage, ReplyHeaders, "Page of tasks", "Tasks, the newest first."),
    MessageWords(QueueOverview, ReplyHeaders, "Task queues", "How many tasks wait and run in each queue."),
    MessageWords(WorkerInfo, ReplyHeaders, "Worker", "What one worker is, and whether it is well."),
    MessageWords(Deleted, ReplyHeaders, "Deleted", "The task, or each task of the user, is deleted."),
    MessageWords(Replayed, ReplyHeaders, "Replayed", "How many tasks were queued again."),
    MessageWords(LettersDeleted, ReplyHeaders, "Dead letters deleted", "How many dead letters were removed."),
    MessageWords(EnrollRequest, RequestHeaders, "Enrolment", "Says who a speaker of a completed task is."),
    MessageWords(VoicesRequest, RequestHeaders, "Voices request", "Asks for the voices of a user."),
    MessageWords(RenameRequest, RequestHeaders, "New name", "Gives a voice another name."),
    MessageWords(ForgetRequest, RequestHeaders, "Forget request", "Names the voice to forget."),
    MessageWords(Voice, ReplyHeaders, "Voice", "A person whom a user has named."),
    MessageWords(VoicePage, ReplyHeaders, "Page of voices", "Voices of a user."),
    MessageWords(Forgotten, ReplyHeaders, "Forgotten", "Nothing of the voice is left.", alias="ForgottenReply"),
    MessageWords(Forgotten, ForgottenHeaders, "Forgotten", "A voice that was forgotten."),
    MessageWords(ErrorReply, ReplyHeaders, "Error", "Why a request failed, and what to do."),
    MessageWords(
        TranscriptionTask,
        AcceptedHeaders,
        "Accepted transcription task",
        "A transcription task, as the stream stored it.",
        alias="AcceptedTranscriptionTask",
    ),
    MessageWords(
        DiarizationTask,
        AcceptedHeaders,
        "Accepted diarization task",
        "A diarization task, as the stream stored it.",
        alias="AcceptedDiarizationTask",
    ),
    MessageWords(
        LiveTask,
        AcceptedHeaders,
        "Accepted live task",
        "A live task, as the stream stored it.",
        alias="AcceptedLiveTask",
    ),
    MessageWords(WindowRequest, InsideHeaders, "Window", "One window of a long recording, with its sound."),
    MessageWords(WindowReply, ReplyHeaders, "Text of a window", "What an idle worker has found in a window."),
)
_BODIES: Final[dict[type, Node]] = {  # of messages that are no JSON
    str: {"type": "string", "description": "The whole body, in UTF-8: it is not JSON."},
    bytes: {
        "type": "string",
        "format": "binary",
        "description": f"The sound, coded as `audio` of the task says, at most {LARGEST_FRAME_BYTES // 1024} KiB. "
        "A frame of `pcm_s16le` holds whole samples of all channels. A frame of `opus` is any piece of the file.",
    },
}


def schemas() -> Node:
    """Return the schemas of all payloads and headers, by name."""
    wanted: set[type[BaseModel]] = {message.headers for message in MESSAGES}
    wanted |= {message.payload for message in MESSAGES if issubclass(message.payload, BaseModel)}
    _, found = models_json_schema(
        [(model, "serialization") for model in sorted(wanted, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    return {name: _without_titles(schema) for name, schema in sorted(found["$defs"].items())}


def _reference(model: type[BaseModel]) -> Node:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _examples(message: MessageWords) -> Iterable[Example]:
    return EXAMPLES[message.payload.__name__ if issubclass(message.payload, BaseModel) else message.name]


def _example(message: MessageWords, example: Example) -> Node:
    node: Node = example.model_dump(exclude_none=True)
    return node | ({"headers": {"Nats-Msg-Id": node["payload"]["task_id"]}} if message.headers is TaskHeaders else {})


def _without_titles(schema: Node) -> Node:
    """Remove the titles of fields, which only repeat their names."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
    return schema
