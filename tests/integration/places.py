"""Searches all data in NATS and Redis for text: messages, objects, keys."""

from collections.abc import AsyncIterator

import pytest
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError
from natscribe.jetstream import stream_pages
from redis.asyncio import Redis

from app.tasks.queue import task_messages


async def places_with(js: JetStreamContext, redis: Redis, *words: str) -> list[str]:
    """The streams' messages, with subjects and headers, and the Redis keys in which any of the words occurs."""
    names = [name async for name, content in _everything(js, redis) if any(word in content for word in words)]
    return sorted(names)


async def _everything(js: JetStreamContext, redis: Redis) -> AsyncIterator[tuple[str, str]]:
    for info in await js.streams_info():
        name = str(info.config.name)
        for sequence in range(max(info.state.first_seq, 1), info.state.last_seq + 1):
            try:
                message = await js.get_msg(name, sequence)
            except NotFoundError:
                continue
            body = (message.data or b"").decode(errors="replace")
            content = f"{message.subject} {message.headers} {body}"
            if name.endswith("_erased"):  # its events name erased tasks, and say nothing else about them
                content = content.replace((message.subject or "").removeprefix("erased."), "")
            yield f"{name} {message.subject}", content
    async for key in redis.scan_iter():
        yield f"redis {key}", f"{key} {await _value(redis, key)}"


async def _value(redis: Redis, key: str) -> str:
    match await redis.type(key):
        case "hash":
            return str(await redis.hkeys(key))  # the values are compressed
        case "zset":
            return str(await redis.zrange(key, 0, -1))
        case _:
            return str(await redis.get(key))


async def know_nothing(*_: object, **__: object) -> list[RawStreamMsg]:
    """Replaces `page`: returns what a server reads that is far behind the leader."""
    return []


def read_behind_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only the leader of a stream know messages, as if another server replied to each Direct Get."""
    for module in (stream_pages, task_messages):
        monkeypatch.setattr(module, "page", know_nothing)
