"""Replaying: the tasks of dead letters are queued again, when an operator asks for it."""

import asyncio
import base64
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from app.dead_letters.store import ANSWER_WITHIN, Chosen, DeadLetterBox
from app.errors import RequestError
from app.jetstream.stream_pages import PAGE_SIZE
from app.jetstream.streams import QUEUE_FULL
from app.task_log.log import TaskLog
from app.task_log.record import TASKS, Record
from schemas import subjects
from schemas.dead_letters import BodyEncoding, DeadLetter
from schemas.errors import ErrorCode
from schemas.headers import REPLAY_OF
from schemas.progress import State
from schemas.stream_names import StreamNames
from schemas.wire import Kind

OPENED_WITHIN = 1.0  # seconds, after ANSWER_WITHIN
LOOK_EVERY = 0.01  # seconds
TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # what a header may be called; the server takes anything
EXPECTATIONS = "nats-expected"  # headers that were meant for the first publish only


class NoRoomError(RequestError):
    """There is no room for another task in its queue."""

    def __init__(self) -> None:
        super().__init__(ErrorCode.INTERNAL, "The task's queue is full: ask again when tasks are done.")


@dataclass(slots=True)
class _Replay:
    """How far a replay has come."""

    give_up_at: float  # by the monotonic clock: once something is queued again
    ends: dict[str, int] = field(default_factory=dict)  # of the logs that are to be opened again: stream sequences
    full: set[str] = field(default_factory=set)  # queues
    without_log: bool = False  # letters are kept longer than logs

    @property
    def is_over(self) -> bool:
        """Whether there is no time for more."""
        return bool(self.ends) and time.monotonic() > self.give_up_at


class Replayer:
    """Takes letters out of their box and publishes their tasks again."""

    def __init__(self, nats: Client, letters: DeadLetterBox, log: TaskLog, names: StreamNames) -> None:
        self._js = nats.jetstream()
        self._letters = letters
        self._log = log
        self._names = names

    async def replay(self, *, task_id: str | None, kind: Kind | None, code: ErrorCode | None) -> int:
        """Queue the matching tasks again, each once, as many as there is room and time for; how many (RequestError)."""
        chosen = Chosen(task_id, kind, code)
        replay, found = _Replay(give_up_at=time.monotonic() + ANSWER_WITHIN), False
        newest = await self._last_of(self._names.dead_letters)
        async for letters in self._letters.pages():
            matching = [
                (sequence, letter)
                for sequence, letter in letters
                if sequence <= newest  # what fails again meanwhile is not tried for ever
                and chosen.includes(letter)
            ]
            found = found or bool(matching)
            await self._replay_all(matching, replay)
            if replay.is_over or (letters and letters[-1][0] > newest):
                break
        if task_id is not None and not found:
            raise RequestError(ErrorCode.NOT_FOUND, f"No dead letter is kept of task {task_id}: list what is there.")
        if task_id is not None and replay.without_log:
            message = f"The events of task {task_id} are kept no longer: publish it again under a new id."
            raise RequestError(ErrorCode.NOT_FOUND, message)
        if replay.full and not replay.ends:
            raise NoRoomError
        await self._opened_again(replay.ends)
        return len(replay.ends)

    async def _replay_all(self, letters: Sequence[tuple[int, DeadLetter]], replay: "_Replay") -> None:
        stale = await self._last_of(self._names.segments)  # what comes after it is of somebody who has replayed, too
        logs = await self._log.last_of({letter.task_id for _, letter in letters if letter.task_id})
        for sequence, letter in letters:
            last = logs.get(letter.task_id or "")
            if replay.is_over:
                return
            replay.without_log |= last is None
            if last is None or letter.subject in replay.full:
                continue
            try:
                replay.ends |= await self._replay(sequence, letter, last, stale)
            except NoRoomError:
                replay.full.add(letter.subject)

    async def _opened_again(self, ends: dict[str, int]) -> None:
        """Wait a moment for `queued`: who replays looks at once, and would see the old end."""
        unopened = dict(islice(reversed(ends.items()), PAGE_SIZE))  # they are opened in this order: the last ones tell
        with suppress(TimeoutError, NatsError):
            async with asyncio.timeout(OPENED_WITHIN):
                while unopened:
                    await asyncio.sleep(LOOK_EVERY)
                    known = await self._log.last_of(unopened)
                    ends_now = {each: record.stream_sequence for each, record in known.items()}
                    unopened = dict(unopened.items() & ends_now.items())

    async def _replay(self, sequence: int, letter: DeadLetter, last: Record, stale: int) -> dict[str, int]:
        """The task that is queued again, and where its log ended (NoRoomError).

        Its segments up to stream sequence `stale` go: it starts afresh.
        """
        if letter.task_id is None or last.event.state is not State.FAILED or not _is_of(letter, last):
            return {}
        headers = {
            name: value
            for name, value in letter.headers.items()
            if TOKEN.fullmatch(name) and not name.lower().startswith(EXPECTATIONS)
        } | {"Nats-Msg-Id": f"replay-{letter.task_id}-{last.stream_sequence}", REPLAY_OF: str(last.stream_sequence)}
        await self._js.purge_stream(self._names.segments, subject=subjects.segments(letter.task_id), seq=stale + 1)
        try:
            stored = await self._js.publish(letter.subject, _bytes(letter), headers=headers)
        except APIError as error:
            if error.err_code == QUEUE_FULL:
                raise NoRoomError from error
            raise
        if stored.duplicate:  # somebody else is replaying it
            return {}
        await self._letters.remove(sequence)
        return {letter.task_id: last.stream_sequence}

    async def _last_of(self, stream: str) -> int:
        return (await self._js.stream_info(stream)).state.last_seq or 0


def _is_of(letter: DeadLetter, last: Record) -> bool:
    """Whether the letter's message is the task that has failed: an invalid one may carry its id as well."""
    if letter.body_truncated or last.metadata.task is None:
        return False
    with suppress(ValueError):
        return TASKS[letter.kind].validate_json(_bytes(letter)) == last.metadata.task
    return False


def _bytes(letter: DeadLetter) -> bytes:
    if letter.body_encoding is BodyEncoding.UTF_8:
        return letter.body.encode()
    return base64.b64decode(letter.body)
