"""Concurrent and interrupted requests about voices: forgetting a voice is complete."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from itertools import count
from typing import Any

import pytest
from natscribe.schemas.requests import UserRequest
from natscribe.schemas.voices import EnrollRequest, ForgetRequest, RenameRequest

from app.runtime.errors import RequestError
from app.tasks.retention.reminders import make_reminder
from tests.fakes.nats import InMemoryNats
from tests.fakes.parts import Parts, provisioned
from tests.unit.requests.test_voice_requests import CONSENT, completed

Request = Callable[[], Awaitable[object]]
is_slow = ContextVar("is_slow", default=False)


class Gate:
    """Stops the slow one of two requests before one of its calls to NATS."""

    def __init__(self, nats: InMemoryNats, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        self.calls_left = 0
        for name in ("request", "publish"):
            monkeypatch.setattr(nats, name, partial(self._pass, getattr(nats, name)))

    async def _pass(self, call: Callable[..., Awaitable[object]], *arguments: Any, **options: Any) -> object:
        if is_slow.get():
            if self.calls_left == 0:
                self.reached.set()
                await self.open.wait()
            self.calls_left -= 1
        return await call(*arguments, **options)

    async def run(self, slow: Request, fast: Request, *, after: int, dies: bool) -> list[BaseException | None] | None:
        """Run `slow` up to its call number `after`, then all of `fast`, then the rest of `slow` unless it dies there.

        Return with which errors `fast` and `slow` have ended; None if `slow` makes fewer calls.
        """

        async def slowly() -> object:
            is_slow.set(True)
            return await slow()

        self.calls_left = after
        request, halfway = asyncio.create_task(slowly()), asyncio.create_task(self.reached.wait())
        await asyncio.wait({request, halfway}, return_when=asyncio.FIRST_COMPLETED)
        halfway.cancel()
        if request.done():
            return None
        first = await asyncio.gather(fast(), return_exceptions=True)
        if dies:
            request.cancel()
        self.open.set()
        outcomes = [*first, *await asyncio.gather(request, return_exceptions=True)]
        errors = [outcome if isinstance(outcome, BaseException) else None for outcome in outcomes]
        assert all(isinstance(error, RequestError | asyncio.CancelledError | None) for error in errors), errors
        return errors


async def ended(parts: Parts, task_id: str) -> None:
    """Store a task of user 7 with the embeddings of one speaker, and its reminder."""
    record = await completed(parts, task_id)
    assert record.metadata.task is not None
    await parts.messages.remove(record)
    reminder = make_reminder(record.metadata.task, record.metadata, ended_at=record.event.time, audio_ttl=None)
    await parts.reminders.put(reminder)


def requests(parts: Parts, voice: str) -> dict[str, Request]:
    """Requests of user 7 about a voice that was enrolled from `call`, or about its person."""
    one_more = EnrollRequest(user_id=7, task_id="next", voice=voice, consent=CONSENT)
    new = EnrollRequest(user_id=7, task_id="call", name="Anna", another=True, consent=CONSENT)
    return {
        "add": lambda: parts.voices.enroll(one_more),
        "enroll": lambda: parts.voices.enroll(new),
        "rename": lambda: parts.voices.rename(RenameRequest(user_id=7, voice=voice, name="Berta")),
        "delete": lambda: parts.tasks.delete("call"),
        "forget": lambda: parts.voices.forget(ForgetRequest(user_id=7, voice=voice)),
        "erase": lambda: parts.users.delete(UserRequest(user_id=7)),
    }


def stays_in(nats: InMemoryNats, bucket: str) -> list[str]:
    """The voices or tasks with data in a bucket that does not expire at once."""
    messages = nats.streams[f"KV_{bucket}"].messages
    return [message.subject.rpartition(".")[2] for message in messages if "Nats-TTL" not in message.headers]


MEETINGS = [(other, "forget") for other in ("add", "enroll", "rename", "delete")] + [
    ("add", "erase"),
    ("enroll", "erase"),
]
PAIRS = [pair for meeting in MEETINGS for pair in (meeting, meeting[::-1])]


@pytest.mark.parametrize("dies", [False, True], ids=["goes on", "dies"])
@pytest.mark.parametrize(("slow", "fast"), PAIRS)
async def test_forgetting_is_complete_despite_a_concurrent_request(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, slow: str, fast: str, dies: bool
) -> None:
    for after in count():
        # Given two recordings of a person who is enrolled from the first one
        nats = await provisioned()
        own = Parts(nats)
        await ended(own, "call")
        await ended(own, "next")
        first = EnrollRequest(user_id=7, task_id="call", name="Anna", consent=CONSENT)
        voice = (await own.voices.enroll(first)).voice
        by_name = requests(own, voice)
        # When one request pauses, or dies, before any of its calls to NATS, while another one is handled
        with monkeypatch.context() as patch:
            outcomes = await Gate(nats, patch).run(by_name[slow], by_name[fast], after=after, dies=dies)
        if outcomes is None:
            break
        succeeded = {name for name, outcome in zip((fast, slow), outcomes, strict=True) if outcome is None}
        # And a client without a reply sends its request again
        if dies and slow in ("forget", "erase"):
            with suppress(RequestError):
                await by_name[slow]()
            succeeded.add(slow)
        # Then nothing is left of the voice, nor of a task from which it was enrolled
        where = f"{slow} before its call {after}: {succeeded}"
        if "erase" in succeeded:
            assert (stays_in(nats, "voices"), stays_in(nats, "embeddings")) == ([], []), where
        if "forget" in succeeded:
            assert voice not in stays_in(nats, "voices"), where
            assert stays_in(nats, "embeddings") == ([] if "add" in succeeded else ["next"]), where
    assert after >= 2  # each request reads a voice, and changes it
