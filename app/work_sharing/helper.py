"""The helper: an idle worker transcribes windows of other workers, without delaying tasks of its own.

A message to a worker's inbox is a line of JSON; in a message with a window, the window's sound follows the line.
"""

import asyncio
import random
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import structlog
from natscribe.schemas.sharing import Token, WindowsOffered
from natscribe.schemas.transcription import LANGUAGE_PATTERN, TranscribeOptions
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.cancellation import cancel_all
from app.engines.cores import SHORTEST_S, Cores
from app.engines.engine import Engine, answer
from app.engines.messages import LONGEST_WINDOW_S, Transcribe, WindowSound, WindowsTranscribed
from app.errors import TaskError
from app.settings import MOST_WINDOWS, VERSION

SHORTEST_BATCH_S, LONGEST_BATCH_S = 20.0, 120.0  # the least and the most time that a helper gets for a batch
MOST_PIECES = 100  # most pieces of speech in a window
_BYTES_A_SECOND = 32_000  # bytes in a second of sound, 16-bit at 16 kHz
LOOKS_FOR_S = 1.25 * SHORTEST_S  # cores must be free for this long; each worker starts to measure after a random pause
ALIVE_EVERY_S = 1.5  # pause between two `Alive` messages
WAITS_FOR_S = 10.0  # a helper waits this long for the next window; then it may help another run
_WINDOWS_AT_ONCE = 2  # windows in one job of the engine: a task of this worker waits for no more than these

Send = Callable[[str, bytes], Awaitable[None]]  # sends a body to the inbox of the worker with this token

log = structlog.get_logger()


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Volunteered(_Line):
    """To the coordinator: this worker is idle, has the model, and waits for windows."""

    type: Literal["volunteered"] = "volunteered"
    run: Token
    helper: Token


class Handed(_Line):
    """To a helper: one window of a batch; the window's sound follows, signed 16-bit at 16 kHz."""

    type: Literal["handed"] = "handed"
    run: Token
    owner: Token
    batch: Token
    number: int = Field(ge=0, lt=MOST_WINDOWS, description="Place of the window in the batch.")
    of: int = Field(ge=1, le=MOST_WINDOWS)
    pieces: list[tuple[float, float]] = Field(min_length=1, max_length=MOST_PIECES)
    options: TranscribeOptions
    previous: str | None = Field(pattern=LANGUAGE_PATTERN)

    def fits(self, sound: bytes) -> bool:
        """Whether `sound` can be the sound of this window."""
        seconds = round(sum(end - start for start, end in self.pieces), 3)  # 20.000000000000004 is 20
        return 0 < seconds <= LONGEST_WINDOW_S and len(sound) == round(seconds * _BYTES_A_SECOND / 2) * 2


class Alive(_Line):
    """To the coordinator: the batch is being transcribed."""

    type: Literal["alive"] = "alive"
    batch: Token


class Returned(_Line):
    """To the coordinator: the answer to a batch, null if the helper releases the batch.

    `more`: whether the helper waits for another batch.
    """

    type: Literal["returned"] = "returned"
    batch: Token
    found: WindowsTranscribed | None
    more: bool


Line = Annotated[Volunteered | Handed | Alive | Returned, Field(discriminator="type")]
_LINE: TypeAdapter[Line] = TypeAdapter(Line)


def encode(line: Line, sound: bytes = b"") -> bytes:
    """Write the body of a message."""
    return line.model_dump_json().encode() + b"\n" + sound


def decode(body: bytes) -> tuple[Line, bytes]:
    """Split the body of a message into its first line, which is JSON, and the sound after the line.

    Raises:
        ValueError: The first line is not valid.
    """
    line, _, sound = body.partition(b"\n")
    return _LINE.validate_json(line), sound


def way_of(engine: Engine) -> str:
    """Describe how an engine computes: engines with the same description find the same in a window.

    The version belongs to it, because another version of the service may find other text.
    """
    return f"{VERSION} {engine.loaded.how}" if engine.loaded is not None else ""


class Helper:
    """Volunteers while this worker is idle, and transcribes batches of other workers.

    `cores` is how many cores must be free before this worker volunteers; null: free cores are not required.
    """

    def __init__(self, engine: Engine, token: str, send: Send, *, cores: int | None) -> None:
        self._engine = engine
        self._token = token
        self._send = send
        self._cores = cores
        self._own_tasks = 0  # how many tasks this worker itself runs
        self._run: str | None = None  # the run that this worker helps
        self._until = 0.0  # when another run may be helped, on the monotonic clock
        self._windows: dict[int, WindowSound] = {}  # the windows received so far, by their place in the batch
        self._held: Handed | None = None  # the first window of the batch that is not returned yet
        self._busy = False
        self._transcribing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def own_work(self) -> AsyncIterator[None]:
        """While the block runs, do not volunteer, and release an unfinished batch."""
        self._own_tasks += 1
        try:
            yield
        finally:
            self._own_tasks -= 1

    async def consider(self, offer: WindowsOffered) -> None:
        """Volunteer for a run if this worker is idle, computes as the coordinator does, and has free cores."""
        if not self._may_help(offer):
            return
        if await self._has_room() and self._may_help(offer):
            self._run, self._until = offer.run, time.monotonic() + WAITS_FOR_S
            await self._send(offer.owner, encode(Volunteered(run=offer.run, helper=self._token)))

    async def receive(self, handed: Handed, sound: bytes) -> None:
        """Receive a window, and start to transcribe when the batch is complete."""
        if not self._takes(handed, sound):
            await self._return(handed, None)
            return
        if self._held is None or handed.batch != self._held.batch:
            self._held, self._windows = handed, {}
        self._until = time.monotonic() + WAITS_FOR_S
        window = WindowSound(pieces=handed.pieces, samples=b64encode(sound).decode())
        self._windows[handed.number] = window
        await self._send(handed.owner, encode(Alive(batch=handed.batch)))
        if len(self._windows) == handed.of:
            windows = [self._windows[number] for number in sorted(self._windows)]
            self._windows, self._busy = {}, True
            self._transcribing = asyncio.create_task(self._help(handed, windows))

    async def close(self) -> None:
        """Stop helping for good, and release an unfinished batch."""
        self._own_tasks += 1
        if self._transcribing is not None:
            await cancel_all([self._transcribing])
        if self._held is not None:
            await self._return(self._held, None)

    def _may_help(self, offer: WindowsOffered) -> bool:
        idle = not self._own_tasks and not self._busy and (self._run is None or time.monotonic() > self._until)
        loaded = self._engine.loaded
        alike = loaded is not None and (loaded.model, way_of(self._engine)) == (offer.model, offer.how)
        return idle and alike and offer.owner != self._token

    async def _has_room(self) -> bool:
        if self._cores is None:
            return True
        await asyncio.sleep(random.uniform(0, LOOKS_FOR_S))  # noqa: S311 -- no secret
        cores = Cores()
        await asyncio.sleep(LOOKS_FOR_S)
        return cores.free(self._cores)

    def _takes(self, handed: Handed, sound: bytes) -> bool:
        return handed.run == self._run and not self._own_tasks and not self._busy and handed.fits(sound)

    async def _help(self, handed: Handed, windows: list[WindowSound]) -> None:
        log.info("help_started", windows=len(windows))
        alive = asyncio.create_task(self._send_alive(handed))
        found = None
        try:
            found = await self._transcribe(handed, windows)
        except TaskError as error:
            log.warning("help_failed", error=error.detail.code)
        except TimeoutError:
            log.warning("help_failed", error="timeout")
        except Exception:
            log.exception("help_failed")
        finally:  # after an error too, so that the coordinator need not wait
            self._busy = False  # before the answer is sent: the next batch may follow at once
            self._until = time.monotonic() + WAITS_FOR_S
            await self._return(handed, found)
            await cancel_all([alive])

    async def _transcribe(self, handed: Handed, windows: list[WindowSound]) -> WindowsTranscribed | None:
        """Transcribe a batch, a few windows at a time; return None as soon as this worker gets a task of its own.

        Raises:
            TaskError: The engine failed.
            TimeoutError: The engine took longer than a coordinator waits, and was killed.
        """
        parts: list[WindowsTranscribed] = []
        previous = handed.previous
        for first in range(0, len(windows), _WINDOWS_AT_ONCE):
            if self._own_tasks:
                return None
            some = windows[first : first + _WINDOWS_AT_ONCE]
            job = Transcribe(windows=some, options=handed.options, previous=previous)
            async with asyncio.timeout(LONGEST_BATCH_S):
                parts.append(await answer(self._engine, job, WindowsTranscribed))
            previous = parts[-1].language or previous
        found = [window for part in parts for window in part.found]
        seconds = sum(part.seconds for part in parts)
        return parts[0].model_copy(update={"found": found, "seconds": seconds, "language": previous})

    async def _send_alive(self, handed: Handed) -> None:
        while True:
            await asyncio.sleep(ALIVE_EVERY_S)
            await self._send(handed.owner, encode(Alive(batch=handed.batch)))

    async def _return(self, handed: Handed, found: WindowsTranscribed | None) -> None:
        more = found is not None and not self._own_tasks
        if not more and handed.run == self._run:
            self._run = None
        if self._held is not None and handed.batch == self._held.batch:
            self._held = None
        await self._send(handed.owner, encode(Returned(batch=handed.batch, found=found, more=more)))
