"""Requests: the replies come from the log, and are errors rather than silence."""

import json

import pytest
from natscribe.schemas.progress import State
from natscribe.schemas.requests import ResultFormat
from natscribe.schemas.task_list import TaskPage
from natscribe.schemas.wire import Kind

from tests.integration.conftest import Publisher
from tests.waiting import DEADLINE, eventually

REQUESTS = ["tasks.status", "tasks.result", "tasks.cancel", "tasks.delete"]


@pytest.mark.parametrize("subject", REQUESTS)
async def test_an_unknown_task_is_not_found(publisher: Publisher, subject: str) -> None:
    reply = await publisher.request(subject, task_id="nobody")
    assert reply["error"]["code"] == "not_found"


async def test_a_user_finds_its_own_tasks(publisher: Publisher, task_id: str) -> None:
    # Given two tasks of a user, one of which waits for the other
    for number in (1, 2):
        await publisher.publish(f"{task_id}-{number}", user_id=task_id)
    await publisher.until(f"{task_id}-2", State.COMPLETED)

    async def listed() -> bool:
        # When the user requests the completed tasks, in pages of one
        first = TaskPage.model_validate(
            await publisher.request("tasks.list", user_id=task_id, state="completed", limit=1)
        )
        rest = await publisher.request("tasks.list", user_id=task_id, limit=1, before=first.more_before)
        tasks = first.tasks + TaskPage.model_validate(rest).tasks
        return [task.task_id for task in tasks if task.result_available] == [f"{task_id}-2", f"{task_id}-1"]

    # Then both are there as soon as they are projected
    await eventually(listed)


async def test_a_result_in_every_format(publisher: Publisher, task_id: str) -> None:
    await publisher.reaching(State.COMPLETED, task_id, diarize=True)
    files = {fmt: await file(publisher, task_id, fmt) for fmt in ResultFormat}
    assert {fmt: content_type for fmt, (_, content_type) in files.items()} == {
        fmt: fmt.content_type for fmt in ResultFormat
    }
    texts = {fmt.value: text for fmt, (text, _) in files.items()}
    result = json.loads(texts["json"])
    first, second = result["segments"][:2]
    assert (first["start"], result["speakers"]) == (0, 2)
    lines = [f"SPEAKER_00: {first['text']}", f"SPEAKER_01: {second['text']}"]
    assert texts["txt"].splitlines()[:2] == lines
    assert texts["srt"].startswith("1\n00:00:00,000 --> ")
    assert lines[0] in texts["srt"].splitlines()
    assert texts["vtt"].startswith("WEBVTT\n")
    assert texts["rttm"].startswith(f"SPEAKER {task_id} 1 0.000 {first['end']:.3f} <NA> <NA> SPEAKER_00 <NA> <NA>\n")
    assert texts["html"].startswith("<!doctype html>")
    # An error is JSON, whatever the requested format
    assert (await file(publisher, "unknown", "txt"))[1] == "application/json"


async def test_a_diarization_is_a_page_and_not_available_as_text(publisher: Publisher, task_id: str) -> None:
    await publisher.reaching(State.COMPLETED, task_id, kind=Kind.DIARIZATION)
    page, content_type = await file(publisher, task_id, "html")
    assert (content_type, f"<dt>Task</dt><dd>{task_id}</dd>" in page) == ("text/html", True)
    refused, content_type = await file(publisher, task_id, "srt")
    assert (content_type, json.loads(refused)["error"]["code"]) == ("application/json", "format_unavailable")


async def file(publisher: Publisher, task_id: str, fmt: str) -> tuple[str, str]:
    """The reply to a request for a result in a format, and its content type."""
    request = json.dumps({"task_id": task_id, "format": fmt}).encode()
    reply = await publisher.nc.request("tasks.result", request, timeout=DEADLINE)
    return reply.data.decode(), (reply.headers or {})["content-type"]
