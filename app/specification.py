"""The AsyncAPI document: what FastStream finds in the code, plus what it leaves out."""

import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

import yaml
from faststream.specification import AsyncAPI
from faststream.specification.base import Specification
from pydantic import TypeAdapter

from schemas import subjects
from schemas.diarization import DiarizationResult
from schemas.errors import ErrorReply
from schemas.requests import Deleted, Replayed, TaskStatus
from schemas.transcription import TranscriptionResult
from schemas.wire import TASK_ID_PATTERN, Kind, Priority

DESCRIPTION = """\
Transcription and diarization over NATS JetStream. There is no HTTP task API.

1. Upload the recording to the Object Store bucket `audio`.
2. Subscribe to `progress.<task_id>` (and to `segments.<task_id>` for the text as it is found).
3. Publish the task with JetStream to `tasks.<kind>.<priority>`, with the header `Nats-Msg-Id: <task_id>`.
4. After `completed`, read `results.<task_id>` or ask `tasks.result`. A late subscriber reads the past from the stream.
"""

Node = dict[str, Any]  # a part of the document: JSON, whose shape AsyncAPI 3 defines

_REPLIES: Mapping[str, TypeAdapter[Any]] = {
    subjects.STATUS: TypeAdapter(TaskStatus | ErrorReply),
    subjects.RESULT: TypeAdapter(TranscriptionResult | DiarizationResult | str | ErrorReply),
    subjects.CANCEL: TypeAdapter(TaskStatus | ErrorReply),
    subjects.DELETE: TypeAdapter(Deleted | ErrorReply),
    subjects.REPLAY: TypeAdapter(Replayed | ErrorReply),
}
_SERVER = {
    "host": "localhost:4222",
    "protocol": "nats",
    "description": "Where NATS listens by default; NATS_URL says where it really is.",
}
_TASK_ID = {"description": f"Chosen by the publisher; matches `{TASK_ID_PATTERN}`."}


def document(version: str) -> AsyncAPI:
    """The document of this version of the service."""
    return _Document(
        title="Natscribe",
        version=version,
        description=DESCRIPTION,
        license={"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        schema_version="3.0.0",
    )


class _Document(AsyncAPI):
    """FastStream's document, completed: for `docs gen` and the page alike."""

    def to_specification(self) -> Specification:
        return _Completed(super().to_specification().to_jsonable())


class _Completed:
    """A specification that is plain JSON."""

    def __init__(self, found: Node) -> None:
        self._node = _complete(found)

    @property
    def title(self) -> str:
        """The document's title."""
        return str(self._node["info"]["title"])

    def to_jsonable(self) -> Node:
        """The document as Python values."""
        return self._node

    def to_json(self) -> str:
        """The document as JSON."""
        return json.dumps(self._node)

    def to_yaml(self) -> str:
        """The document as YAML, one thing a line."""
        written = io.StringIO(newline="\n")
        yaml.dump(self._node, written, sort_keys=False, allow_unicode=True, width=120)
        return written.getvalue()


def _complete(found: Node) -> Node:
    channels = {name: found["channels"][name] for name in _in_order(found["channels"])}
    operations = {name: found["operations"][name] for name in _in_order(found["operations"])}
    components = {
        "messages": {
            name: found["components"]["messages"][name] for name in _in_order(found["components"]["messages"])
        },
        "schemas": dict(sorted(found["components"]["schemas"].items())),
    }
    node = {"asyncapi": found["asyncapi"]} | found
    node["servers"] = dict.fromkeys(found["servers"], _SERVER)
    node |= {"channels": channels, "operations": operations, "components": components}
    for name, channel in channels.items():
        if "{task_id}" in name:
            channel["parameters"] = {"task_id": _TASK_ID}
    for subject, shape in _REPLIES.items():
        _add_reply(node, subject, shape)
    return node


def _in_order(names: Iterable[str]) -> list[str]:
    """FastStream keeps subscribers in a set: put them into the order in which a reader wants them."""
    tasks = [subjects.tasks(kind, priority) for kind in Kind for priority in Priority]
    answers = [subjects.PROGRESS_CHANNEL, subjects.SEGMENTS_CHANNEL, subjects.RESULTS_CHANNEL, *_REPLIES]
    order = {subject: number for number, subject in enumerate([*tasks, *answers])}
    return sorted(names, key=lambda name: (order.get(name.partition(":")[0], len(order)), name))


def _add_reply(node: Node, subject: str, shape: TypeAdapter[Any]) -> None:
    """Say what a request is answered with, on the inbox that the request names."""
    schema = shape.json_schema(mode="serialization", ref_template="#/components/schemas/{model}")
    node["components"]["schemas"] |= schema.pop("$defs", {})
    channel, message = f"{subject}.reply", f"{subject}:Reply"
    node["components"]["messages"][message] = {"title": message, "payload": schema}
    node["channels"][channel] = {
        "address": None,
        "description": f"The reply to {subject}.",
        "messages": {"Reply": {"$ref": f"#/components/messages/{message}"}},
    }
    node["operations"][subject]["reply"] = {
        "address": {"location": "$message.header#/reply-to", "description": "The inbox that the NATS request names."},
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/Reply"}],
    }
