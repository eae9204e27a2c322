"""Workers of two versions on the same streams: no task ends twice, no event is missing, and no reply is false."""

import asyncio
import json
import os
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from natscribe.jetstream import stream_pages
from natscribe.schemas import subjects
from natscribe.schemas.wire import Kind

from tests.integration.conftest import Publisher
from tests.integration.live.test_live import Speaker
from tests.versions.conftest import Versions
from tests.waiting import eventually

TEXT = "one two one two one two"
FLEET = int(os.environ.get("FLEET", "2"))  # workers
ENDED = {"completed", "failed", "cancelled"}
CONSENT = {"by": "Anna", "at": "2026-11-24T09:30:00Z"}
IN_BOTH_DIRECTIONS = pytest.mark.parametrize(("first", "second"), [("this", "later"), ("later", "this")])


async def stored(publisher: Publisher, stream: str, subject: str) -> list[dict[str, Any]]:
    """The content of all messages of a subject, in order."""
    pages = stream_pages.pages(publisher.nc, stream, subject)
    return [json.loads(message.data or b"") async for page in pages for message in page]


async def events(publisher: Publisher, task_id: str) -> list[dict[str, Any]]:
    return await stored(publisher, "transcription_progress", f"progress.{task_id}")


async def is_in_state(publisher: Publisher, task_id: str, state: str) -> bool:
    last = (await events(publisher, task_id) or [{}])[-1]
    return last.get("state") == state


async def is_run_by(publisher: Publisher, task_id: str, worker: Process) -> bool:
    """Whether the last event of a task is that of a worker that runs it."""
    last = (await events(publisher, task_id))[-1]
    return last["state"] == "running" and f"-{worker.pid}-" in last["worker"]


async def has_segments(publisher: Publisher, task_id: str, messages: int = 1) -> bool:
    return len(await stored(publisher, "transcription_segments", f"segments.{task_id}")) >= messages


async def assert_whole(publisher: Publisher, task_id: str, end: str) -> None:
    """A log without gaps, with one end; and one outcome."""
    log = await events(publisher, task_id)
    assert [event["sequence"] for event in log] == list(range(1, len(log) + 1)), log
    assert [event["state"] for event in log if event["state"] in ENDED] == [end], log
    assert all(one["attempt"] <= other["attempt"] for one, other in pairwise(log))
    segments = await stored(publisher, "transcription_segments", f"segments.{task_id}")
    assert [event["sequence"] for event in segments] == list(range(1, len(segments) + 1)), segments


async def status(publisher: Publisher, task_id: str) -> dict[str, Any]:
    return await publisher.request(subjects.STATUS, task_id=task_id)


@IN_BOTH_DIRECTIONS
async def test_a_worker_of_another_version_continues_all_tasks(
    publisher: Publisher, versions: Versions, first: str, second: str
) -> None:
    speaker = Speaker(publisher)
    async with versions.running(first):
        # Given a running task, a live task and four waiting tasks of a worker
        await publisher.publish("running", word_timestamps=True)
        await eventually(partial(has_segments, publisher, "running"))
        await speaker.begin()
        await speaker.say(15)
        await eventually(partial(has_segments, publisher, speaker.task_id))
        for task_id in ("waiting", "cancelled", "deleted", "erased"):
            await publisher.publish(task_id, user_id=8 if task_id == "erased" else 7)
            await eventually(partial(is_in_state, publisher, task_id, "queued"))
    # When the worker is lost, and a worker of another version starts
    async with versions.running(second) as worker:
        # Then it continues what was running, and requests find all tasks
        for task_id in ("running", speaker.task_id):
            await eventually(partial(is_run_by, publisher, task_id, worker))
        for task_id in ("running", speaker.task_id, "waiting", "cancelled", "deleted", "erased"):
            reply = await status(publisher, task_id)
            assert reply["task"]["task_id"] == task_id, reply
            assert reply["state"] in {"running", "queued"}, reply
        assert (await status(publisher, "running"))["task"]["word_timestamps"] is True
        listed = await publisher.request(subjects.LIST, limit=50)
        assert len(listed["tasks"]) == 6, listed
        assert sum(queue["waiting"] for queue in (await publisher.request(subjects.TASK_QUEUES))["queues"]) == 4
        assert (await publisher.request(subjects.RESULT, task_id="waiting"))["error"]["code"] == "not_finished"
        # And tasks can be cancelled, deleted and erased
        assert (await publisher.request(subjects.CANCEL, task_id="cancelled"))["state"] == "cancelled"
        assert (await publisher.request(subjects.DELETE, task_id="deleted"))["deleted"] is True
        assert (await publisher.request(subjects.DELETE, user_id=8))["tasks"] == 1
        for task_id in ("deleted", "erased"):
            assert (await status(publisher, task_id))["error"]["code"] == "not_found"
        await assert_whole(publisher, "cancelled", "cancelled")
        # And the live task gets the text of what is said meanwhile
        await speaker.say(10)
        await eventually(partial(has_segments, publisher, speaker.task_id, 2))
    # When the version changes back
    async with versions.running(first):
        versions.gate.touch()
        await speaker.say(5, end=True)
        # Then each task ends once, with its whole text, and with the events of all workers in a row
        for task_id in ("running", speaker.task_id, "waiting"):
            await eventually(partial(is_in_state, publisher, task_id, "completed"))
            await assert_whole(publisher, task_id, "completed")
            assert (await publisher.request(subjects.RESULT, task_id=task_id))["text"] == TEXT
        for task_id in ("deleted", "erased"):
            assert await events(publisher, task_id) == []
    # And whatever another version has written can be erased
    async with versions.running(second):
        assert (await publisher.request(subjects.RESULT, task_id="running"))["text"] == TEXT
        assert (await publisher.request(subjects.DELETE, task_id="running"))["deleted"] is True
        assert (await publisher.request(subjects.DELETE, user_id=7))["tasks"] == 3
        for stream in ("progress", "segments", "results"):
            info = await publisher.js.stream_info(f"transcription_{stream}", subjects_filter=">")
            assert not info.state.subjects


@IN_BOTH_DIRECTIONS
async def test_voices_are_known_to_workers_of_another_version(
    publisher: Publisher, versions: Versions, first: str, second: str
) -> None:
    versions.gate.touch()
    async with versions.running(first):
        # Given a person whom a worker has enrolled
        await publisher.publish("call", diarize=True, identify=True)
        await eventually(partial(is_in_state, publisher, "call", "completed"))
        who = {"user_id": 7, "task_id": "call", "speaker": "SPEAKER_00", "name": "Anna", "consent": CONSENT}
        voice = (await publisher.request(subjects.ENROLL, **who))["voice"]
        (written,) = await stored(publisher, "KV_voices", "$KV.voices.>")
    async with versions.running(second):
        # When a worker of another version changes the voice
        assert (await publisher.request(subjects.RENAME, user_id=7, voice=voice, name="Anna Berg"))[
            "name"
        ] == "Anna Berg"
        # Then it keeps what it does not know
        (changed,) = await stored(publisher, "KV_voices", "$KV.voices.>")
        written["model"].pop("newer", None)  # names a network, and is compared as a whole
        if second == "this":
            assert changed | {"name": "Anna"} == written
        # And names speakers by it
        await publisher.publish("next", diarize=True, identify=True)
        await eventually(partial(is_in_state, publisher, "next", "completed"))
        named = (await publisher.request(subjects.RESULT, task_id="next"))["voices"]
        assert "Anna Berg" in {voice["name"] for voice in named.values()}
        # And can give it one more reference
        more = who | {"task_id": "next", "voice": voice, "name": None}
        grown = await publisher.request(subjects.ENROLL, **more)
        assert (len(grown["references"]), grown["comparable"]) == (2, True)
    async with versions.running(first):
        (listed,) = (await publisher.request(subjects.VOICES, user_id=7))["voices"]
        assert (listed["voice"], listed["name"], len(listed["references"])) == (voice, "Anna Berg", 2)
        assert (await publisher.request(subjects.DELETE, user_id=7))["tasks"] == 2
        assert await stored(publisher, "KV_voices", "$KV.voices.>") == []


async def test_two_versions_share_all_work(publisher: Publisher, versions: Versions) -> None:
    # Given workers of different versions that help each other
    versions.gate.touch()
    async with AsyncExitStack() as fleet:
        starts = (versions.running(("this", "later")[at % 2], SHARE_WINDOWS="always") for at in range(FLEET))
        await asyncio.gather(*map(fleet.enter_async_context, starts))
        # When tasks of all kinds are published
        ids = [f"task-{number}" for number in range(10 * FLEET)]
        for number, task_id in enumerate(ids):
            kind = Kind.DIARIZATION if number % 4 == 3 else Kind.TRANSCRIPTION
            await publisher.publish(task_id, kind=kind)
            # Then each reply is true, whoever replies
            assert (await status(publisher, task_id))["task"]["task_id"] == task_id
        # And each task ends once
        for task_id in ids:
            await eventually(partial(is_in_state, publisher, task_id, "completed"))
            await assert_whole(publisher, task_id, "completed")
            assert (await publisher.request(subjects.RESULT, task_id=task_id))["task_id"] == task_id
        for _ in range(2 * FLEET):
            assert len((await publisher.request(subjects.LIST, limit=50))["tasks"]) == min(len(ids), 50)
        assert await deleted_tasks(publisher, user_id=7) == len(ids)


async def deleted_tasks(publisher: Publisher, **request: object) -> int:
    """Delete the tasks of a user, with as many requests as it takes; return how many there were."""
    reply = await publisher.request(subjects.DELETE, **request)
    after = reply.get("more_after")
    rest = await deleted_tasks(publisher, **request | {"after": after}) if after else 0
    return int(reply["tasks"]) + rest


async def test_a_task_with_an_option_of_a_later_version_waits_for_that_version(
    publisher: Publisher, versions: Versions
) -> None:
    async with versions.running("later"):
        # Given tasks with an option that only the later version has
        await publisher.publish("running", newer="wanted")
        await eventually(partial(has_segments, publisher, "running"))
        for task_id in ("waiting", "cancelled", "erased"):
            await publisher.publish(task_id, user_id=8 if task_id == "erased" else 7, newer="wanted")
            await eventually(partial(is_in_state, publisher, task_id, "queued"))
    async with versions.running("this"):
        # When the version is rolled back, then the tasks stay, and their options are reported as they were sent
        for task_id in ("running", "waiting"):
            assert (await status(publisher, task_id))["task"]["newer"] == "wanted"
        # And they can be cancelled and erased
        assert (await publisher.request(subjects.CANCEL, task_id="cancelled"))["state"] == "cancelled"
        assert (await publisher.request(subjects.DELETE, user_id=8))["tasks"] == 1
        # And a task without that option is done before them
        versions.gate.touch()
        await publisher.publish("plain")
        await eventually(partial(is_in_state, publisher, "plain", "completed"))
        assert not await is_in_state(publisher, "running", "failed")
    async with versions.running("later"):
        # When the later version is back, then it completes them
        for task_id in ("running", "waiting"):
            await eventually(partial(is_in_state, publisher, task_id, "completed"))
            await assert_whole(publisher, task_id, "completed")
        await assert_whole(publisher, "cancelled", "cancelled")
        assert await events(publisher, "erased") == []
