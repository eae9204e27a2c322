"""Attacks by clients that do everything at once: nothing is lost, doubled, or left behind.

ATTACKS=n makes each attack n times as large.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

import pytest
from nats.js import JetStreamContext
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import ProgressEvent, State
from redis.asyncio import Redis

from app.runtime.errors import PermanentError
from app.settings import Settings
from tests.constants import Constants
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker, queue_is_empty
from tests.integration.places import places_with
from tests.integration.reminders import let_time_pass
from tests.waiting import eventually

TIMES = int(os.environ.get("ATTACKS", "1"))
TWICE, CANCELLED, DELETED, REPLAYED, FORGOTTEN, VOICES = (count * TIMES for count in (100, 60, 30, 40, 30, 100))
QUEUE = "tasks.transcription.normal"
LOGS = ("transcription_progress", "transcription_segments", "transcription_results", "transcription_dead_letters")
DIED = PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")
WITHIN_S = 120.0 * TIMES

pytestmark = pytest.mark.timeout(300 * TIMES)


class QuickEngine(FakeEngine):
    """Takes some milliseconds for each window, so that each disturbance of a task comes at another point of its run."""

    async def transcribes(self, _: int) -> None:
        await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311


@pytest.fixture
async def engines(start_worker: StartWorker) -> AsyncIterator[list[FakeEngine]]:
    """The engines of two workers."""
    engines: list[FakeEngine] = [QuickEngine(), QuickEngine()]
    async with start_worker(engines[0]), start_worker(engines[1]):
        yield engines


@pytest.fixture
def settings(settings: Settings, constants: Constants) -> Settings:
    """The markers that prevent late workers from writing keys again expire after five seconds, not ten minutes."""
    constants(TOMBSTONE_S=5)
    return settings


async def logs(js: JetStreamContext) -> dict[str, list[ProgressEvent]]:
    """The events of all tasks, in order."""
    events_by_task: dict[str, list[ProgressEvent]] = {}
    subscription = await js.subscribe("progress.*", stream="transcription_progress", ordered_consumer=True)
    for _ in range((await js.stream_info("transcription_progress")).state.messages):
        message = await subscription.next_msg(timeout=30)
        event = ProgressEvent.model_validate_json(message.data)
        events_by_task.setdefault(event.task_id, []).append(event)
    await subscription.unsubscribe()
    return events_by_task


async def stored_results(js: JetStreamContext) -> set[str]:
    """The ids of all tasks with a result, each of which has one."""
    state = (await js.stream_info("transcription_results", subjects_filter="results.*")).state
    assert set((state.subjects or {}).values()) <= {1}
    return {subject.partition(".")[2] for subject in state.subjects or {}}


async def all_have_ended(js: JetStreamContext, ids: Iterable[str]) -> dict[str, list[ProgressEvent]] | None:
    """The logs, once the log of each of these tasks has its end, and no message waits."""
    events_by_task = await logs(js)
    ended = all(events_by_task.get(task_id, []) and events_by_task[task_id][-1].state.ended for task_id in ids)
    return events_by_task if ended and await queue_is_empty(js) else None


def ends(events: Iterable[ProgressEvent]) -> list[State]:
    return [event.state for event in events if event.state.ended]


async def test_one_id_with_two_bodies_is_one_task(
    publisher: Publisher, engines: list[FakeEngine], js: JetStreamContext
) -> None:
    # Given ids of which each is published twice at once, by publishers who want different things
    ids = [f"t{number}" for number in range(TWICE)]
    both = [(task_id, language) for task_id in ids for language in ("en", "de")]
    random.shuffle(both)
    await asyncio.gather(*(publisher.publish(task_id, language=language) for task_id, language in both))
    # When all is done
    events_by_task = await eventually(partial(all_have_ended, js, ids), within=WITHIN_S)
    # Then each id is one task, which was done once and has one result
    assert {tuple(ends(events_by_task[task_id])) for task_id in ids} == {(State.COMPLETED,)}
    assert {
        event.attempt for events in events_by_task.values() for event in events if event.state is State.RUNNING
    } == {1}
    assert await stored_results(js) == set(ids)
    assert sum(len(engine.jobs) for engine in engines) == TWICE
    # And its status shows the options of the first message
    languages = [(await publisher.request("tasks.status", task_id=task_id))["task"]["language"] for task_id in ids]
    done = [options.language for engine in engines for options in engine.options]
    assert {name: languages.count(name) * engines[0].windows for name in languages} == {
        name: done.count(name) for name in done
    }


async def test_a_cancel_and_the_end_of_a_task_never_both_happen(
    publisher: Publisher, engines: list[FakeEngine], js: JetStreamContext
) -> None:
    # Given tasks that end within milliseconds
    ids = [f"t{number}" for number in range(CANCELLED)]

    async def publish_and_cancel(task_id: str) -> dict[str, Any]:
        await publisher.publish(task_id)
        await asyncio.sleep(random.uniform(0, 0.1 * CANCELLED / 2))  # noqa: S311 -- before, while and after it runs
        return await publisher.request("tasks.cancel", task_id=task_id)

    # When each is cancelled at some time
    replies = dict(zip(ids, await asyncio.gather(*map(publish_and_cancel, ids)), strict=True))
    events_by_task = await eventually(partial(all_have_ended, js, ids), within=WITHIN_S)
    # Then each has ended once, as the reply said, and has a result exactly if it is completed
    assert {task_id: [replies[task_id]["state"]] for task_id in ids} == {
        task_id: ends(events_by_task[task_id]) for task_id in ids
    }
    completed = {task_id for task_id in ids if events_by_task[task_id][-1].state is State.COMPLETED}
    assert await stored_results(js) == completed
    assert {events_by_task[task_id][-1].state for task_id in ids} <= {State.COMPLETED, State.CANCELLED}


async def test_nothing_is_left_of_tasks_that_are_deleted_while_they_run(
    publisher: Publisher, engines: list[FakeEngine], js: JetStreamContext, redis: Redis
) -> None:
    # Given tasks that wait, run and end
    ids = [f"gone{number}" for number in range(DELETED)]

    async def publish_and_delete(task_id: str) -> dict[str, Any]:
        await publisher.publish(task_id)
        await asyncio.sleep(random.uniform(0, 0.1 * DELETED / 2))  # noqa: S311
        return await publisher.request("tasks.delete", task_id=task_id)

    # When each is deleted at some time
    replies = await asyncio.gather(*map(publish_and_delete, ids))
    assert [reply for reply in replies if not reply.get("deleted")] == []

    # Then nothing is left anywhere, also when all that was on its way has come
    async def nothing() -> bool:
        return await queue_is_empty(js) and not await places_with(js, redis, "gone")

    await eventually(nothing, within=WITHIN_S)
    await publisher.reaching(State.COMPLETED, "after")
    await eventually(nothing, within=WITHIN_S)


async def test_concurrent_replays_queue_each_task_once(
    publisher: Publisher, engines: list[FakeEngine], js: JetStreamContext
) -> None:
    # Given tasks that have failed
    ids = [f"t{number}" for number in range(REPLAYED)]
    for engine in engines:
        engine.fail_with = [DIED] * REPLAYED
    await asyncio.gather(*map(publisher.publish, ids))
    events_by_task = await eventually(partial(all_have_ended, js, ids), within=WITHIN_S)
    assert {tuple(ends(events_by_task[task_id])) for task_id in ids} == {(State.FAILED,)}
    for engine in engines:
        engine.fail_with = []
    # When each is replayed three times at once, and all of them as well
    requests = [{"task_id": task_id} for task_id in ids for _ in range(3)] + [{"code": DIED.detail.code}]
    random.shuffle(requests)
    await asyncio.gather(*(publisher.request(subjects.REPLAY, **request) for request in requests))

    async def all_completed() -> dict[str, list[ProgressEvent]] | None:
        events_by_task = await all_have_ended(js, ids)
        return (
            events_by_task
            if events_by_task and all(events_by_task[task_id][-1].state is State.COMPLETED for task_id in ids)
            else None
        )

    events_by_task = await eventually(all_completed, within=WITHIN_S)
    # Then each has failed once and was completed once, and no dead letter is left
    assert {tuple(ends(events_by_task[task_id])) for task_id in ids} == {(State.FAILED, State.COMPLETED)}
    assert await stored_results(js) == set(ids)
    assert (await js.stream_info("transcription_dead_letters")).state.messages == 0


async def test_tasks_with_short_retention_leave_nothing(
    publisher: Publisher, engines: list[FakeEngine], js: JetStreamContext, redis: Redis
) -> None:
    # Given tasks with a retention of one minute
    ids = [f"gone{number}" for number in range(FORGOTTEN)]
    engines[0].fail_with = [DIED] * (FORGOTTEN // 6)
    # Some of them are completed, some fail, and some are cancelled
    await asyncio.gather(*(publisher.publish(task_id, keep_seconds=60) for task_id in ids))
    await asyncio.gather(*(publisher.request("tasks.cancel", task_id=task_id) for task_id in ids[::5]))
    events_by_task = await eventually(partial(all_have_ended, js, ids), within=WITHIN_S)
    assert {State.COMPLETED, State.FAILED} <= {events_by_task[task_id][-1].state for task_id in ids}
    # When that minute is over
    await asyncio.gather(*(let_time_pass(js, task_id) for task_id in ids))

    async def nothing() -> bool:
        return await queue_is_empty(js) and not await places_with(js, redis, "gone")

    # Then nothing is left of them anywhere
    await eventually(nothing, within=WITHIN_S)
    assert {name: (await js.stream_info(name)).state.messages for name in LOGS} == dict.fromkeys(LOGS, 0)
    assert await redis.keys("task:*") == []


async def test_a_voice_that_is_forgotten_while_others_change_it_leaves_nothing(
    publisher: Publisher, engines: list[FakeEngine], js: JetStreamContext
) -> None:
    # Given users of whom each is enrolled from one recording, and speaks in another one
    for engine in engines:
        engine.people = ["anna"]
    both = [f"{which}{user}" for user in range(VOICES) for which in ("call", "next")]
    options: dict[str, Any] = {"diarize": True, "identify": True}
    await asyncio.gather(*(publisher.publish(task_id, user_id=int(task_id[4:]), **options) for task_id in both))
    await eventually(partial(all_have_ended, js, both), within=WITHIN_S)
    consent = {"by": "Anna", "at": "2026-11-24T09:30:00Z"}

    async def race(user: int) -> tuple[bool, bool]:
        """Whether the voice was forgotten, and whether it had got a reference of the other recording."""
        fields: dict[str, Any] = {"user_id": user, "consent": consent}
        voice = (await publisher.request(subjects.ENROLL, task_id=f"call{user}", name="Anna", **fields))["voice"]

        async def add() -> dict[str, Any]:
            await asyncio.sleep(random.uniform(0, 0.01))  # noqa: S311 -- before, while and after it is forgotten
            return await publisher.request(subjects.ENROLL, task_id=f"next{user}", voice=voice, **fields)

        async def forget() -> dict[str, Any]:
            await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311
            return await publisher.request(subjects.FORGET, user_id=user, voice=voice)

        added, forgotten = await asyncio.gather(add(), forget())
        return "error" not in forgotten, "error" not in added

    # When each voice is forgotten while it gets a reference of the other recording
    outcomes = [await race(user) for user in range(VOICES)]
    # Then each is forgotten, and nothing stays but the embeddings of recordings from which no person was enrolled
    embeddings = (await js.stream_info("KV_embeddings", subjects_filter="$KV.embeddings.*")).state.subjects or {}
    assert {forgotten for forgotten, _ in outcomes} == {True}
    assert (await js.stream_info("KV_voices")).state.messages == 0
    expected = {f"$KV.embeddings.next{user}" for user, (_, added) in enumerate(outcomes) if not added}
    assert set(embeddings) == expected
