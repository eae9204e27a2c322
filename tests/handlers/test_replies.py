"""Requests: each gets a reply, or an error with a next step."""

import json
from typing import Any

import pytest
from faststream.nats import NatsBroker
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.examples import EXAMPLES, WORKER_INFO
from natscribe.schemas.progress import State
from natscribe.schemas.requests import DeleteLettersRequest, ReplayRequest, ResultFormat, ResultRequest, UserRequest
from natscribe.schemas.task_list import ListRequest
from natscribe.schemas.wire import Kind
from structlog.testing import capture_logs

from app.engines.windows import WindowRequest
from app.runtime.errors import RequestError
from handlers.channels import REQUESTS
from tests.handlers.conftest import ENGINE, STATUS, Parts

pytestmark = pytest.mark.asyncio(loop_scope="session")

AS_JSON = {"content-type": "application/json"}
NO_JSON = {
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "deeper than Python reads": b"[" * 100_000,
    "an integer longer than Python reads": b'{"task_id":"t1","user_id":%s}' % (b"9" * 5000),
    "another encoding": '{"task_id":"t1"}'.encode("utf-16"),
    "half a character": rb'{"task_id":"t1","user_id":"\ud800"}',
}
every_request = pytest.mark.parametrize("subject", [route.kwargs["subject"] for route in REQUESTS])


async def request(broker: NatsBroker, subject: str, body: object, headers: dict[str, str] | None = None) -> Any:
    """The body of the reply, from JSON."""
    return json.loads((await broker.request(body, subject, headers=headers)).body)


@pytest.mark.parametrize(
    ("subject", "body", "reply"),
    [
        (subjects.STATUS, {"task_id": "t1"}, STATUS.model_dump(mode="json")),
        (subjects.CANCEL, {"task_id": "t1"}, STATUS.model_dump(mode="json")),
        (subjects.TASK_QUEUES, {}, {"queues": [], "dead_letters": 3, "users": []}),
        (subjects.WORKERS, {}, WORKER_INFO.model_dump(mode="json")),
    ],
)
async def test_the_reply_is_what_the_service_returns(
    broker: NatsBroker, subject: str, body: dict[str, str], reply: dict[str, object]
) -> None:
    assert await request(broker, subject, body) == reply


@pytest.mark.parametrize(
    ("fmt", "body", "content_type"),
    [(ResultFormat.TXT, b"hello", "text/plain"), (ResultFormat.HTML, b"<!doctype html>", "text/html")],
)
async def test_a_result_as_a_file_is_the_body_of_the_reply(
    broker: NatsBroker, parts: Parts, fmt: ResultFormat, body: bytes, content_type: str
) -> None:
    reply = await broker.request({"task_id": "t1", "format": fmt}, subjects.RESULT)
    assert (reply.body, reply.content_type) == (body, content_type)
    parts.tasks.result.assert_awaited_once_with(ResultRequest(task_id="t1", format=fmt))


async def test_the_deletion_of_a_task_is_confirmed(broker: NatsBroker, parts: Parts) -> None:
    assert await request(broker, subjects.DELETE, {"task_id": "t1"}) == {
        "deleted": True,
        "tasks": 1,
        "more_after": None,
    }
    parts.tasks.delete.assert_awaited_once_with("t1")


@pytest.mark.parametrize("user_id", [7, "7"], ids=["number", "name"])
async def test_a_page_of_tasks_is_the_reply(broker: NatsBroker, parts: Parts, user_id: int | str) -> None:
    cursor = "1795595445000000000112-t1"
    conditions = {"user_id": user_id, "state": "failed", "limit": 200, "before": cursor}
    assert await request(broker, subjects.LIST, conditions) == {"tasks": [], "more_before": cursor}
    expected = ListRequest(user_id=user_id, state=State.FAILED, limit=200, before=cursor)
    parts.task_list.page.assert_awaited_once_with(expected)


async def test_the_window_of_another_worker_is_transcribed(broker: NatsBroker, parts: Parts) -> None:
    window_request = WindowRequest.model_validate(EXAMPLES["WindowRequest"][0].payload)
    reply = await request(broker, subjects.windows(ENGINE), window_request.model_dump(mode="json"))
    assert reply == {"worker": "0" * 32, "text": None}
    parts.sharing.transcribe_window.assert_awaited_once_with(window_request)


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
async def test_an_invalid_window_is_refused(broker: NatsBroker, parts: Parts, body: bytes) -> None:
    reply = await request(broker, subjects.windows(ENGINE), body, headers=AS_JSON)
    assert reply["error"]["code"] == "invalid_request"
    parts.sharing.transcribe_window.assert_not_awaited()


async def test_dead_letters_are_replayed(broker: NatsBroker, parts: Parts) -> None:
    assert await request(broker, subjects.REPLAY, {"kind": "diarization"}) == {"replayed": 3}
    parts.replayer.replay.assert_awaited_once_with(ReplayRequest(kind=Kind.DIARIZATION))


@pytest.mark.parametrize("user_id", [7, "7"], ids=["number", "name"])
async def test_the_tasks_of_a_user_are_deleted(broker: NatsBroker, parts: Parts, user_id: int | str) -> None:
    reply = await request(broker, subjects.DELETE, {"user_id": user_id, "after": "queue-12"})
    assert reply == {"deleted": True, "tasks": 3, "more_after": "ended-0"}
    parts.users.delete.assert_awaited_once_with(UserRequest(user_id=user_id, after="queue-12"))
    parts.tasks.delete.assert_not_awaited()


NO_USER = "user_id: use an integer of 64 bits, or 1 to 64 characters, no control characters"


@pytest.mark.parametrize(
    ("subject", "fields", "problem"),
    [
        (subjects.LIST, {"limit": 0}, "limit: "),
        (subjects.LIST, {"limit": 201}, "limit: "),
        (subjects.LIST, {"before": "here"}, "before: use `more_before` of the last reply)"),
        (subjects.LIST, {"before": "+"}, "before: use `more_before` of the last reply)"),  # a mark of Redis
        (subjects.LIST, {"state": "*"}, "state: "),
        (subjects.LIST, {"user_id": True}, f"{NO_USER})"),
        (subjects.DELETE, {}, "task_id: this field is missing, add it)"),
        (subjects.DELETE, {"task_id": "t1", "user_id": 7}, "user_id: there is no such field, leave it out)"),
        (subjects.DELETE, {"user_id": None}, f"{NO_USER})"),
        (subjects.DELETE, {"user_id": True}, f"{NO_USER})"),
        (subjects.DELETE, {"task_id": "a b"}, "task_id: use letters, digits, - and _, at most 64)"),
        (subjects.DELETE, {"user_id": 7, "after": "here"}, "after: use `more_after` of the last reply)"),
    ],
)
async def test_an_invalid_field_is_named_and_nothing_is_done(
    broker: NatsBroker, parts: Parts, subject: str, fields: dict[str, object], problem: str
) -> None:
    error = (await request(broker, subject, fields))["error"]
    assert error["code"] == "invalid_request"
    assert problem in error["message"]
    for part in (parts.task_list, parts.tasks, parts.users):
        assert part.mock_calls == []


async def test_dead_letters_are_deleted_after_the_cursor_of_the_client(broker: NatsBroker, parts: Parts) -> None:
    reply = await request(broker, subjects.DELETE_LETTERS, {"task_id": "t1", "after": 5})
    assert reply == {"deleted": 2, "more_after": 15}
    parts.dead_letters.delete.assert_awaited_once_with(DeleteLettersRequest(task_id="t1", after=5))


@every_request
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
async def test_invalid_json_gets_an_error(broker: NatsBroker, subject: str, body: bytes) -> None:
    error = (await request(broker, subject, body, AS_JSON))["error"]
    assert error == {
        "code": "invalid_request",
        "message": "The request is invalid (it is no JSON object): correct it and send it again.",
    }


@every_request
@pytest.mark.parametrize("body", [b"[]", b"7", b"hello"])
async def test_json_that_is_no_object_gets_an_error(broker: NatsBroker, subject: str, body: bytes) -> None:
    error = (await request(broker, subject, body))["error"]
    assert error["code"] == "invalid_request"
    assert "it is no JSON object" in error["message"]


OF_VOICE = {"user_id": 7, "voice": "0" * 32}
KNOWN: dict[str, dict[str, object]] = {  # the valid fields of a request; of all others, a task id
    subjects.LIST: {},
    subjects.TASK_QUEUES: {},
    subjects.WORKERS: {},
    subjects.REDACT: {"text": "hello", "redact": {"entities": ["all"]}},
    subjects.ENROLL: OF_VOICE | {"task_id": "t1", "consent": {"by": "Anna", "at": "2026-11-24T09:30:00Z"}},
    subjects.VOICES: {"user_id": 7},
    subjects.RENAME: OF_VOICE | {"name": "Anna"},
    subjects.FORGET: OF_VOICE,
}


@every_request
async def test_an_unknown_field_is_named(broker: NatsBroker, subject: str) -> None:
    valid = KNOWN.get(subject, {"task_id": "t1"})
    error = (await request(broker, subject, valid | {"taskid": "t1"}))["error"]
    assert error["code"] == "invalid_request"
    assert "taskid" in error["message"]


@every_request
async def test_an_invalid_value_is_named_but_not_repeated(broker: NatsBroker, subject: str) -> None:
    valid = KNOWN.get(subject, {})
    error = (await request(broker, subject, valid | {"task_id": "no such id"}))["error"]
    assert error["code"] == "invalid_request"
    assert "task_id" in error["message"]
    assert "no such id" not in error["message"]


async def test_a_refused_request_gets_the_reason(broker: NatsBroker, parts: Parts) -> None:
    parts.tasks.status.side_effect = RequestError(ErrorCode.NOT_FOUND, "No task t1 is known: check the id.")
    error = (await request(broker, subjects.STATUS, {"task_id": "t1"}))["error"]
    assert error == {"code": "not_found", "message": "No task t1 is known: check the id."}


async def test_an_internal_error_reveals_no_details(broker: NatsBroker, parts: Parts) -> None:
    parts.tasks.status.side_effect = RuntimeError("password")
    with capture_logs() as lines:
        error = (await request(broker, subjects.STATUS, {"task_id": "t1"}))["error"]
    assert error == {"code": "internal", "message": "The service could not handle the request: try again in a moment."}
    assert [line["log_level"] for line in lines] == ["error"]


@pytest.mark.parametrize(
    ("reply_to", "is_handled"),
    [
        ("tasks.transcription.high", False),
        ("$JS.API.STREAM.DELETE.x", False),
        ("progress.t1", False),
        ("_INBOX.abc.1", True),
        ("_INBOX_reader.abc.1", True),
        ("_R_.abc.1", True),
    ],
)
async def test_a_request_is_handled_only_if_its_reply_subject_is_an_inbox(
    broker: NatsBroker, parts: Parts, reply_to: str, is_handled: bool
) -> None:
    await broker.publish({"task_id": "t1"}, subjects.DELETE, reply_to=reply_to)
    assert parts.tasks.delete.await_count == is_handled
