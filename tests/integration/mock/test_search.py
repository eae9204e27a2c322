"""`services/search` with the mock of the service, on real servers: what was said is found until it is erased."""

import asyncio
import json
import random
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import natscribe
import pytest
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from natscribe.schemas import subjects
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import Segment

from tests.fakes.messages import transcript
from tests.integration.conftest import Publisher
from tests.programs import BIN, output, started
from tests.servers import Servers
from tests.waiting import eventually, patiently

ROOT = Path(__file__).parents[3]
Start = Callable[[], AbstractAsyncContextManager[Process]]

pytestmark = [pytest.mark.usefixtures("mock", "meeting"), pytest.mark.foreign]  # requests that the service has not


@pytest.fixture
def searching(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Start the service."""
    monkeypatch.setenv("SEARCH_INDEX", str(tmp_path / "search.db"))
    app = "services.search.main:create_app", "--factory"
    return lambda: started(servers.nats_url, BIN / "faststream", "run", *app, cwd=ROOT)


async def reply(nc: Client, subject: str, **request: object) -> Any:
    """The reply; while the service starts there is none."""
    message = await nc.request(subject, json.dumps(request).encode(), timeout=patiently(1.0))
    return json.loads(message.data)


async def found(nc: Client, query: str, **request: object) -> list[str]:
    """The tasks with hits."""
    try:
        page = await reply(nc, "transcripts.search", query=query, **request)
    except (NoRespondersError, NatsTimeoutError):
        return []
    return [hit["task_id"] for hit in page["hits"]]


async def test_what_was_said_is_found_until_it_is_erased(
    publisher: Publisher, client: natscribe.Client, searching: Start, servers: Servers, tmp_path: Path
) -> None:
    nc = publisher.nc
    # Given a task that has completed before the service starts, and one after
    await publisher.reaching(State.COMPLETED, "t1")
    async with searching():
        await eventually(lambda: found(nc, "morning"))
        await publisher.reaching(State.COMPLETED, "t2")
        await eventually(lambda: _both(nc))
        # Then the hit names the segment, and the transcript can be read there
        hit = (await reply(nc, "transcripts.search", query='"good morning"'))["hits"][0]
        assert hit["task_id"] == "t2"
        assert [hit["text"][start:end].casefold() for start, end in hit["marks"]] == ["good morning"]
        page = await client.search_transcripts('"good morning"', user_id=hit["user_id"], limit=1)
        assert [one.model_dump(mode="json") for one in page.hits] == [hit]
        excerpt = await reply(nc, "transcripts.get", task_id="t2", start=hit["start"], end=hit["end"])
        assert hit["text"] in [segment["text"] for segment in excerpt["segments"]]
        # When a task is deleted, then nothing of it is found
        await publisher.request(subjects.DELETE, task_id="t1")
        await eventually(lambda: _is_only(nc, "t2"))
        assert (await reply(nc, "transcripts.get", task_id="t1"))["error"]["code"] == "not_found"
        # And a request that is not valid says why
        error = (await reply(nc, "transcripts.search", query="morning", limit=1000))["error"]
        assert (error["code"], "limit" in error["message"]) == ("invalid_request", True)
    # When the index is lost, then one command has it built again
    for file in tmp_path.glob("search.db*"):
        file.unlink()
    rebuild = sys.executable, "-m", "services.search.rebuild"
    assert "from the start" in await output(servers.nats_url, *rebuild, cwd=ROOT)
    async with searching():
        await eventually(lambda: _is_only(nc, "t2"))


async def test_a_result_is_found_within_seconds_whenever_it_arrives(publisher: Publisher, searching: Start) -> None:
    nc, chance = publisher.nc, random.Random(2)  # noqa: S311 -- no secret
    async with searching() as process:
        await eventually(partial(_runs, process, nc))
        for number in range(40):
            await asyncio.sleep(chance.random() / 2)
            said = [Segment(start=0, end=1, text=f"call number{number}")]
            body = transcript(task_id=f"r{number}", segments=said).model_dump_json()
            await publisher.js.publish(f"append.results.r{number}", body.encode())
            await eventually(partial(found, nc, f"number{number}"), within=patiently(5))


async def _runs(process: Process, nc: Client) -> bool:
    assert process.returncode is None, (await process.communicate())[0].decode()
    try:
        return "hits" in await reply(nc, "transcripts.search", query="call")
    except (NoRespondersError, NatsTimeoutError):
        return False


async def _both(nc: Client) -> bool:
    return set(await found(nc, "morning")) == {"t1", "t2"}


async def _is_only(nc: Client, task_id: str) -> bool:
    return set(await found(nc, "morning")) == {task_id}


async def test_each_result_is_indexed_once_however_often_the_service_dies(
    publisher: Publisher, searching: Start
) -> None:
    nc, chance = publisher.nc, random.Random(1)  # noqa: S311 -- no secret
    sent, kills = 0, 6

    async def publish(count: int) -> None:
        nonlocal sent
        for number in range(sent, sent + count):
            said = [Segment(start=0, end=1, text=f"call number{number}")]
            body = transcript(task_id=f"r{number}", segments=said).model_dump_json()
            await publisher.js.publish(f"append.results.r{number}", body.encode())
        sent += count

    # Given a service that is killed while results arrive
    for _ in range(kills):
        async with searching() as process:
            await publish(10)
            if chance.random() < 0.7:
                await eventually(partial(_is_up, process, nc))
            await publish(10)
            process.send_signal(signal.SIGKILL)
    # When it runs again, then each result is there, once
    async with searching():
        await eventually(lambda: _count(nc, sent), within=120)
        everything = await _all(nc)
    assert sorted(everything) == sorted(f"r{number}" for number in range(sent))


async def _is_up(process: Process, nc: Client) -> list[str]:
    assert process.returncode is None, (await process.communicate())[0].decode()
    return await found(nc, "call")


async def _count(nc: Client, sent: int) -> bool:
    return len(await _all(nc)) >= sent


async def _all(nc: Client) -> list[str]:
    tasks, after = list[str](), 0
    try:
        while True:
            page = await reply(nc, "transcripts.search", query="call", limit=50, after=after)
            tasks += [hit["task_id"] for hit in page["hits"]]
            if page["more_after"] is None:
                return tasks
            after = page["more_after"]
    except (NoRespondersError, NatsTimeoutError):
        return []


async def test_an_index_of_another_version_is_refused_with_a_sentence(searching: Start, tmp_path: Path) -> None:
    (tmp_path / "search.db").write_text("no database " * 1000)
    async with searching() as process:
        printed = (await process.communicate())[0].decode()
    assert process.returncode != 0
    assert "is no index of transcripts: name another file in SEARCH_INDEX" in printed
