"""A change that breaks clients needs a new version, and is listed here: compared with the last released document."""

import copy
from collections.abc import Callable

import pytest

from tests.contract.compatibility import Node, breaks
from tests.document import DOCUMENT, ROOT, from_yaml

ADVICE = (
    "make the change compatible, or raise the version in pyproject.toml and announce the break here; at a release keep "
    "the document: cp asyncapi.yaml docs/contract/asyncapi-VERSION.yaml, and empty ANNOUNCED"
)
REQUESTS = [
    *("askQueue", "askResult", "askStatus", "askWorkers", "cancelTask", "deleteDeadLetters", "deleteTask"),
    *("listTasks", "replayDeadLetters", "transcribeWindow"),
]
PLACES_OF_ERRORS = [
    *(f"{request}'s reply ErrorReply payload.error" for request in REQUESTS),
    "askResult's reply TranscriptionResultReply payload.diarization_error",
    "askStatus's reply TaskStatus payload.error",
    "cancelTask's reply TaskStatus payload.error",
    "followProgress ProgressEvent payload.error",
    "listTasks's reply TaskPage payload.tasks[].error",
    "receiveResult TranscriptionResult payload.diarization_error",
    "watchDeadLetters DeadLetter payload.error",
]
ANNOUNCED = [  # what this version breaks on purpose; docs/contract.md says it to clients
    # A live task has no recording; only who publishes live tasks sees this.
    "askStatus's reply TaskStatus payload.task.audio_file_id must be there",
    "cancelTask's reply TaskStatus payload.task.audio_file_id must be there",
    "askResult's reply TranscriptionResultReply payload.audio_sha256 is null, not string",
    "receiveResult TranscriptionResult payload.audio_sha256 is null, not string",
    # A task with `not_before` is scheduled; only who sets it, and who lists the tasks of others, sees this.
    "askStatus's reply TaskStatus payload.state may be scheduled",
    "cancelTask's reply TaskStatus payload.state may be scheduled",
    "followProgress ProgressEvent payload.state may be scheduled",
    "listTasks's reply TaskPage payload.tasks[].state may be scheduled",
    # Estimates of starts are gone: who has shown them shows `queue_position` and `seconds_ahead`.
    "askQueue's reply QueueOverview payload.queues[].newest_start must be there",
    "askStatus's reply TaskStatus payload.expected_start must be there",
    "cancelTask's reply TaskStatus payload.expected_start must be there",
    "followProgress ProgressEvent payload.expected_start must be there",
    # Only where the operator limits the waiting tasks of a user.
    *(f"{place}.code may be quota_exceeded" for place in PLACES_OF_ERRORS),
]


def version(document: Node) -> tuple[int, ...]:
    return tuple(int(part) for part in document["info"]["version"].split("."))


def promise(document: Node) -> tuple[int, ...]:
    """The numbers of a version that rise when clients break: before 1.0 the first two."""
    major, minor, _ = version(document)
    return (major,) if major else (major, minor)


def kept() -> Node:
    kept_ones = (ROOT / "docs" / "contract").glob("*.yaml")
    return max((from_yaml(path.read_text(encoding="utf-8")) for path in kept_ones), key=version)


def test_only_what_is_announced_breaks_clients_of_the_last_kept_version() -> None:
    assert sorted(breaks(kept(), DOCUMENT)) == sorted(ANNOUNCED), ADVICE


def test_only_a_new_version_breaks_clients() -> None:
    assert version(DOCUMENT) >= version(kept())
    assert not ANNOUNCED or promise(DOCUMENT) > promise(kept())


def _schema(name: str) -> Callable[[Node], Node]:
    return lambda document: document["components"]["schemas"][name]


TASK, EVENT, CODE = _schema("TranscriptionTask"), _schema("ProgressEvent"), _schema("ErrorCode")
BREAKING: dict[str, Callable[[Node], object]] = {
    "an operation is gone": lambda new: new["operations"].pop("askStatus"),
    "an address is another": lambda new: new["channels"]["progress"].update(address="events.{task_id}"),
    "a stream is another": lambda new: new["channels"]["progress"]["x-nats"].update(stream="events"),
    "a stream is no longer found by its subject": lambda new: new["channels"]["transcriptionTasks"]["x-nats"].update(
        appendedOn=["append.tasks.*"]
    ),
    "a bucket is another": lambda new: new["x-nats"]["objectStoreBuckets"]["audio"].update(bucket="sounds"),
    "a priority is gone": lambda new: new["components"]["parameters"]["priority"]["enum"].remove("low"),
    "a task needs one field more": lambda new: TASK(new)["required"].append("language"),
    "a task may have one field less": lambda new: TASK(new)["properties"].pop("word_timestamps"),
    "a task's field is narrower": lambda new: TASK(new)["properties"]["user_id"]["anyOf"][0].update(minimum=0),
    "a task's field is of another type": lambda new: TASK(new)["properties"]["word_timestamps"].update(
        anyOf=[{"type": "string"}]
    ),
    "a task's field has one type less": lambda new: TASK(new)["properties"]["user_id"]["anyOf"].pop(),
    "a task needs a header": lambda new: _schema("TaskHeaders")(new).update(required=["traceparent"]),
    "an event has one field less": lambda new: (
        EVENT(new)["properties"].pop("attempt"),
        EVENT(new)["required"].remove("attempt"),
    ),
    "an event's field may be missing": lambda new: EVENT(new)["required"].remove("state"),
    "an event's field may be null": lambda new: EVENT(new)["properties"].update(
        progress={"anyOf": [{"type": "integer"}, {"type": "null"}]}
    ),
    "an event's field is wider": lambda new: EVENT(new)["properties"]["progress"].update(maximum=1000),
    "there is one state more": lambda new: _schema("State")(new)["enum"].append("paused"),
    "there is one error code more": lambda new: CODE(new)["enum"].append("bored"),
    "an event lacks a header": lambda new: _schema("TaskEventHeaders")(new)["required"].remove("ce-id"),
    "a reply is another": lambda new: new["components"]["messages"]["ResultText"].update(contentType="text/html"),
    "a request has another reply": lambda new: new["operations"]["askStatus"]["reply"]["messages"].append(
        {"$ref": "#/channels/resultReplies/messages/ResultText"}
    ),
}
HARMLESS: dict[str, Callable[[Node], object]] = {
    "a task may have one field more": lambda new: TASK(new)["properties"].update(title={"type": "string"}),
    "an event has one field more": lambda new: EVENT(new)["properties"].update(host={"type": "string"}),
    "a request's field is wider": lambda new: _schema("TaskRequest")(new)["properties"]["task_id"].pop("pattern"),
    "an event's field is narrower": lambda new: EVENT(new)["properties"]["progress"].update(minimum=1),
    "there is one priority more": lambda new: new["components"]["parameters"]["priority"]["enum"].append("idle"),
    "a description has other words": lambda new: EVENT(new).update(description="News."),
    "a result is kept longer": lambda new: new["channels"]["results"]["x-nats"].update(maxAgeSeconds=10**9),
}


@pytest.mark.parametrize("change", BREAKING.values(), ids=BREAKING)
def test_a_breaking_change_is_detected(change: Callable[[Node], object]) -> None:
    new = copy.deepcopy(DOCUMENT)
    change(new)
    assert breaks(DOCUMENT, new)


@pytest.mark.parametrize("change", HARMLESS.values(), ids=HARMLESS)
def test_a_compatible_change_is_accepted(change: Callable[[Node], object]) -> None:
    new = copy.deepcopy(DOCUMENT)
    change(new)
    assert breaks(DOCUMENT, new) == []
