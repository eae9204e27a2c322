"""The messages of the AsyncAPI document: payload, headers and examples; the payload's docstring is the summary."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from natscribe.schemas.channels import Channel
from natscribe.schemas.errors import ErrorReply
from natscribe.schemas.event_headers import ForgottenHeaders
from natscribe.schemas.examples import EXAMPLES, Example
from natscribe.schemas.headers import WRITTEN, Correlation, FrameHeaders, Headers, RequestHeaders, TaskHeaders
from natscribe.schemas.live import MAX_FRAME_BYTES
from natscribe.schemas.requests import ResultFormat
from pydantic import BaseModel, Field, create_model
from pydantic.json_schema import models_json_schema

from app.storage.jetstream.channels import CHANNELS, AcceptedHeaders

Node = dict[str, Any]  # a part of the document: a JSON object as AsyncAPI 3 defines it


class ReplyHeaders(Headers):
    """Headers of a reply in JSON."""

    content_type: Literal["application/json"] = Field("application/json", alias="content-type", description=WRITTEN)
    correlation_id: Correlation = None


class FileReplyHeaders(Headers):
    """Headers of a reply whose body is a file instead of JSON."""

    correlation_id: Correlation = None


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
    def is_file(self) -> bool:
        """Whether the message is a reply to `tasks.result` whose body is a file (such as subtitles) instead of JSON."""
        return issubclass(self.headers, FileReplyHeaders)

    @property
    def node(self) -> Node:
        """The message as a part of the AsyncAPI document."""
        return {
            "name": self.name,
            "title": re.sub(r"\B[A-Z]", lambda letter: f" {letter[0].lower()}", self.name),
            "summary": self.body_summary or paragraphs(self.payload.__doc__)[0],
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
        return "requestId" if issubclass(self.headers, RequestHeaders | ReplyHeaders | FileReplyHeaders) else "taskId"


def requests_on(channel: Channel) -> list[MessageDescription]:
    """Return the messages that are published on a channel."""
    return [_message(channel, payload) for payload in channel.messages]


def replies_on(channel: Channel) -> list[MessageDescription]:
    """Return the replies to the requests on a channel: those in JSON, files, and the error reply."""
    files = _file_replies() if channel.has_files else ()
    return [*map(_reply, channel.replies), *files, MessageDescription(ErrorReply, ReplyHeaders)]


def _message(channel: Channel, payload: type[Any]) -> MessageDescription:
    if payload is bytes:
        return MessageDescription(bytes, channel.headers, "Frame", "20 ms to 1 s of the audio of a live task.")
    alias = f"Accepted{payload.__name__}" if channel.headers is AcceptedHeaders else ""
    return MessageDescription(payload, channel.headers, alias)


def _reply(payload: type[Any]) -> MessageDescription:
    is_event = any(payload in channel.messages for channel in CHANNELS)
    return MessageDescription(payload, ReplyHeaders, f"{payload.__name__}Reply" if is_event else "")


def _file_replies() -> Iterator[MessageDescription]:
    """Yield a reply to `tasks.result` for each content type that a result can have, except JSON."""
    formats = [result_format for result_format in ResultFormat if result_format is not ResultFormat.JSON]
    for content_type in dict.fromkeys(result_format.content_type for result_format in formats):
        first, *others = (result_format for result_format in formats if result_format.content_type == content_type)
        name = {"text/plain": "Text", "text/html": "Page"}.get(content_type, first.value.title())
        names = ", ".join(f"`{result_format}`" for result_format in (first, *others))
        yield MessageDescription(
            str if first.is_text else bytes,
            _file_reply_headers(f"{name}ReplyHeaders", content_type),
            f"Result{name}",
            f"The body is the result in the requested format: {names}.",
        )


def _file_reply_headers(name: str, content_type: str) -> type[FileReplyHeaders]:
    """Create the class of headers, called `name`, for a reply that is a file of this content type."""
    field = Field(
        content_type,
        alias="content-type",
        description="Not JSON: the body is the file.",
        json_schema_extra={"const": content_type},
    )
    description = f"Headers of a reply of the type {content_type}."
    return create_model(name, __base__=FileReplyHeaders, __doc__=description, content_type=(str, field))


DOCUMENTED: Final = tuple(channel for channel in CHANNELS if not channel.is_internal)
MESSAGES: Final = tuple(
    {
        message.name: message
        for channel in DOCUMENTED
        for message in (*requests_on(channel), *(replies_on(channel) if channel.replies else ()))
    }.values()
)
_FRAME: Final[Node] = {
    "type": "string",
    "format": "binary",
    "description": f"The audio, encoded as `audio` of the task says, at most {MAX_FRAME_BYTES // 1024} KiB. "
    "A frame of `pcm_s16le` holds whole samples of all channels. A frame of `opus` is any piece of the file.",
}


def paragraphs(text: str | None) -> tuple[str, str]:
    """Split a docstring into its first paragraph and the rest; return both, each joined into one line."""
    first, _, rest = (text or "").strip().partition("\n\n")
    return " ".join(first.split()), " ".join(rest.split())


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
