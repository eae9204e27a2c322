"""The messages of the AsyncAPI document: payload, headers and examples; the payload's docstring is the summary."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, get_args, get_type_hints

from natscribe.schemas.dead_letters import DeadLetter
from natscribe.schemas.errors import ErrorReply
from natscribe.schemas.examples import EXAMPLES, Example
from natscribe.schemas.headers import FrameHeaders, Headers, RequestHeaders, TaskHeaders
from natscribe.schemas.kinds import TASKS
from natscribe.schemas.live import MAX_FRAME_BYTES, Partial, SpeakersEvent
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.voices import Forgotten
from natscribe.schemas.windows import WindowReply, WindowRequest
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.asyncapi.generated_channels import paragraphs
from app.asyncapi.headers import (
    AcceptedHeaders,
    CloudEventHeaders,
    FileReplyHeaders,
    ForgottenHeaders,
    InsideHeaders,
    PartialHeaders,
    ReplyHeaders,
    SpeakersHeaders,
    TaskEventHeaders,
    file_reply_headers,
)
from app.asyncapi.node import Node
from handlers.channels import REQUESTS
from handlers.published import PUBLISHED

CORRELATIONS: Final = {
    "taskId": {"location": "$message.payload#/task_id", "description": "All messages about a task have its id."},
    "frameId": {
        "location": "$message.header#/Nats-Msg-Id",
        "description": "The text before the last hyphen is the task id; the number after it is that of the frame.",
    },
    "voiceId": {
        "location": "$message.payload#/voice",
        "description": "The service generates the id of the voice; results have it beside the name.",
    },
    "requestId": {
        "location": "$message.header#/correlation_id",
        "description": "NATS delivers the reply to the inbox of the request; the reply repeats the header.",
    },
}


@dataclass(frozen=True, slots=True)
class MessageDescription:
    """A message of the AsyncAPI document: its payload class and its headers class.

    The name and the docstring of the payload class become the name and the summary of the message, unless `alias` and
    `body_summary` replace them.
    """

    payload: type[BaseModel] | type[str] | type[bytes]
    headers: type[Headers]
    alias: str = ""
    body_summary: str = ""

    @property
    def name(self) -> str:
        """The name of the message; code generators name its class after it."""
        return self.alias or self.payload.__name__

    @property
    def is_reply(self) -> bool:
        """Whether the message is a reply."""
        return issubclass(self.headers, ReplyHeaders | FileReplyHeaders)

    @property
    def is_file(self) -> bool:
        """Whether the message is a reply to `tasks.result` whose body is a file (such as subtitles) instead of JSON."""
        return issubclass(self.headers, FileReplyHeaders)

    @property
    def is_inside(self) -> bool:
        """Whether only workers send and receive the message."""
        return issubclass(self.headers, AcceptedHeaders | InsideHeaders)

    @property
    def node(self) -> Node:
        """The message as a part of the AsyncAPI document."""
        return {
            "name": self.name,
            "title": re.sub(r"\B[A-Z]", lambda letter: f" {letter[0].lower()}", self.name),
            "summary": self.body_summary or paragraphs(self.payload.__doc__ or "")[0],
            "contentType": self._content_type,
            "correlationId": {"$ref": f"#/components/correlationIds/{self._correlation}"},
            "headers": _reference(self.headers),
            "payload": self._payload,
            "examples": [_example(self, example) for example in _examples(self)],
        }

    @property
    def _content_type(self) -> str:
        if self.is_file:
            return str(self.headers.model_fields["content_type"].default)
        return "application/octet-stream" if self.headers is FrameHeaders else "application/json"

    @property
    def _payload(self) -> Node:
        if issubclass(self.payload, BaseModel):
            return _reference(self.payload)
        if self.headers is FrameHeaders:
            return _FRAME
        binary, encoding = ({}, ", in UTF-8") if self.payload is str else ({"format": "binary"}, "")
        return {"type": "string", **binary, "description": f"The whole body{encoding}: it is not JSON."}

    @property
    def _correlation(self) -> str:
        if self.headers is FrameHeaders:
            return "frameId"
        if self.headers is ForgottenHeaders:
            return "voiceId"
        return "requestId" if issubclass(self.headers, RequestHeaders) or self.is_reply else "taskId"


def members(annotation: Any) -> tuple[type, ...]:  # `Any`: a type or a union of types
    """Return the members of a union; a type is its own only member."""
    return get_args(annotation) or (annotation,)


def _handled(part: str) -> list[type[BaseModel]]:
    """Return the payload classes of all requests or of all replies, each once, from the signatures of the handlers.

    `part`: `request` for requests, `return` for replies.
    """
    hints = [get_type_hints(route.call)[part] for route in REQUESTS]
    payloads = dict.fromkeys(payload for hint in hints for payload in members(hint))
    return [payload for payload in payloads if issubclass(payload, BaseModel)]


def _file_replies() -> Iterator[MessageDescription]:
    """Yield a reply to `tasks.result` for each content type that a result can have, except JSON."""
    formats = [result_format for result_format in ResultFormat if result_format is not ResultFormat.JSON]
    for content_type in dict.fromkeys(result_format.content_type for result_format in formats):
        first, *others = (result_format for result_format in formats if result_format.content_type == content_type)
        name = {"text/plain": "Text", "text/html": "Page"}.get(content_type, first.value.title())
        names = ", ".join(f"`{result_format}`" for result_format in (first, *others))
        yield MessageDescription(
            str if first.is_text else bytes,
            file_reply_headers(f"{name}ReplyHeaders", content_type),
            f"Result{name}",
            f"The body is the result in the requested format: {names}.",
        )


_EVENTS: Final = dict.fromkeys(payload for channel in PUBLISHED for payload in members(channel.payload))
_EVENT_HEADERS: Final[dict[type, type[Headers]]] = {
    Partial: PartialHeaders,
    SpeakersEvent: SpeakersHeaders,
    Forgotten: ForgottenHeaders,
    DeadLetter: CloudEventHeaders,
}
MESSAGES: Final = (
    *(MessageDescription(task, TaskHeaders) for task in TASKS.values()),
    MessageDescription(bytes, FrameHeaders, "Frame", "20 ms to 1 s of the audio of a live task."),
    *(MessageDescription(event, _EVENT_HEADERS.get(event, TaskEventHeaders)) for event in _EVENTS),
    *(MessageDescription(request, RequestHeaders) for request in _handled("request")),
    *(
        MessageDescription(reply, ReplyHeaders, f"{reply.__name__}Reply" if reply in _EVENTS else "")
        for reply in _handled("return")
    ),
    *_file_replies(),
    MessageDescription(ErrorReply, ReplyHeaders),
    *(MessageDescription(task, AcceptedHeaders, f"Accepted{task.__name__}") for task in TASKS.values()),
    MessageDescription(WindowRequest, InsideHeaders),
    MessageDescription(WindowReply, ReplyHeaders),
)
_FRAME: Final[Node] = {
    "type": "string",
    "format": "binary",
    "description": f"The audio, encoded as `audio` of the task says, at most {MAX_FRAME_BYTES // 1024} KiB. "
    "A frame of `pcm_s16le` holds whole samples of all channels. A frame of `opus` is any piece of the file.",
}


def schemas() -> Node:
    """Return the schemas of all payloads and headers, by name."""
    models: set[type[BaseModel]] = {message.headers for message in MESSAGES}
    models |= {message.payload for message in MESSAGES if issubclass(message.payload, BaseModel)}
    _, generated = models_json_schema(
        [(model, "serialization") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    return {name: _without_titles(schema) for name, schema in sorted(generated["$defs"].items())}


def _reference(model: type[BaseModel]) -> Node:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _examples(message: MessageDescription) -> Iterable[Example]:
    if message.is_file:
        return EXAMPLES.get(message.name, ())  # a binary format has none
    return EXAMPLES[message.payload.__name__ if issubclass(message.payload, BaseModel) else message.name]


def _example(message: MessageDescription, example: Example) -> Node:
    node: Node = example.model_dump(exclude_none=True)
    return node | ({"headers": {"Nats-Msg-Id": node["payload"]["task_id"]}} if message.headers is TaskHeaders else {})


def _without_titles(schema: Node) -> Node:
    """Remove the generated titles of fields from a schema: they only repeat the names of the fields."""
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
    return schema
