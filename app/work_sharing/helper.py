"""The helper's side of sharing: an idle worker hears windows of others, and nothing of its own has to wait for that."""

import asyncio
import random
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog

from app.cancellation import cancel_all
from app.engines.cores import SHORTEST, Cores
from app.engines.engine import Engine
from app.engines.messages import Transcribe, WindowSound, WindowsTranscribed
from app.engines.window_transcribers import OwnEngine
from app.errors import TaskError
from app.work_sharing.coordinator import LONGEST_LOAN, Send
from app.work_sharing.messages import Alive, Lent, Returned, Volunteered, encode
from schemas.sharing import WindowsOffered

LOOKS_FOR = 1.25 * SHORTEST  # seconds in which a core must be free; workers of one machine begin at random moments
ALIVE_EVERY = 1.5  # seconds
_PIECE = 2  # windows heard at once: a task of this worker waits for no more
WAITS_FOR = 10.0  # seconds for the next window, then another run may be helped

_VERSION = version("natscribe")  # other code may find other things

log = structlog.get_logger()


def way_of(engine: Engine) -> str:
    """How an engine hears: two that hear alike find the same in a window."""
    return f"{_VERSION} {engine.loaded.how}" if engine.loaded is not None else ""


class Helper:
    """Volunteers where it is idle and so many `cores` are free (null: whatever they do), and hears what it is lent."""

    def __init__(self, engine: Engine, token: str, send: Send, *, cores: int | None) -> None:
        self._engine = engine
        self._transcriber = OwnEngine(engine)
        self._token = token
        self._send = send
        self._cores = cores
        self._own = 0  # tasks of this worker
        self._run: str | None = None  # which is helped
        self._until = 0.0
        self._windows: dict[int, WindowSound] = {}
        self._held: Lent | None = None  # of the batch that is not given back
        self._hears = False
        self._hearing: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def own_work(self) -> AsyncIterator[None]:
        """While this worker has a task of its own it does not volunteer, and gives back what it has not heard."""
        self._own += 1
        try:
            yield
        finally:
            self._own -= 1

    async def offered(self, offer: WindowsOffered) -> None:
        """Volunteer, if that is of use."""
        if not self._may_help(offer):
            return
        if await self._has_room() and self._may_help(offer):
            self._run, self._until = offer.run, time.monotonic() + WAITS_FOR
            await self._send(offer.owner, encode(Volunteered(run=offer.run, helper=self._token)))

    async def lent(self, lent: Lent, sound: bytes) -> None:
        """Take a window, and begin when the batch is complete."""
        if not self._takes(lent, sound):
            await self._give_back(lent, None)
            return
        if self._held is None or lent.batch != self._held.batch:
            self._held, self._windows = lent, {}
        self._until = time.monotonic() + WAITS_FOR
        window = WindowSound(pieces=lent.pieces, samples=b64encode(sound).decode())
        self._windows[lent.number] = window
        await self._send(lent.owner, encode(Alive(batch=lent.batch)))
        if len(self._windows) == lent.of:
            windows = [self._windows[number] for number in sorted(self._windows)]
            self._windows, self._hears = {}, True
            self._hearing = asyncio.create_task(self._hear(lent, windows))

    async def close(self) -> None:
        """Work for others no more: who lent something gets it back."""
        self._own += 1
        if self._hearing is not None:
            await cancel_all([self._hearing])
        if self._held is not None:
            await self._give_back(self._held, None)

    def _may_help(self, offer: WindowsOffered) -> bool:
        idle = not self._own and not self._hears and (self._run is None or time.monotonic() > self._until)
        loaded = self._engine.loaded
        alike = loaded is not None and (loaded.model, way_of(self._engine)) == (offer.model, offer.how)
        return idle and alike and offer.owner != self._token

    async def _has_room(self) -> bool:
        if self._cores is None:
            return True
        await asyncio.sleep(random.uniform(0, LOOKS_FOR))  # noqa: S311 -- no secret
        cores = Cores()
        await asyncio.sleep(LOOKS_FOR)
        return cores.free(self._cores)

    def _takes(self, lent: Lent, sound: bytes) -> bool:
        return lent.run == self._run and not self._own and not self._hears and lent.fits(sound)

    async def _hear(self, lent: Lent, windows: list[WindowSound]) -> None:
        log.info("helps_another", windows=len(windows))
        alive = asyncio.create_task(self._say_alive(lent))
        heard = None
        try:
            heard = await self._in_pieces(lent, windows)
        except TaskError as error:
            log.warning("help_failed", error=error.detail.code)
        except TimeoutError:
            log.warning("help_failed", error="timeout")
        except Exception:
            log.exception("help_failed")
        finally:  # whatever went wrong, the owner need not wait
            self._hears = False  # before it is said: the next batch may come at once
            self._until = time.monotonic() + WAITS_FOR
            await self._give_back(lent, heard)
            await cancel_all([alive])

    async def _in_pieces(self, lent: Lent, windows: list[WindowSound]) -> WindowsTranscribed | None:
        """What is said in a batch, or null where this worker comes to have a task of its own (TaskError)."""
        pieces: list[WindowsTranscribed] = []
        previous = lent.previous
        for first in range(0, len(windows), _PIECE):
            if self._own:
                return None
            piece = Transcribe(windows=windows[first : first + _PIECE], options=lent.options, previous=previous)
            async with asyncio.timeout(LONGEST_LOAN):  # by then the owner has it back; what hangs is killed
                pieces.append(await self._transcriber.transcribe(piece))
            previous = pieces[-1].language or previous
        found = [window for piece in pieces for window in piece.found]
        seconds = sum(piece.seconds for piece in pieces)
        return pieces[0].model_copy(update={"found": found, "seconds": seconds, "language": previous})

    async def _say_alive(self, lent: Lent) -> None:
        while True:
            await asyncio.sleep(ALIVE_EVERY)
            await self._send(lent.owner, encode(Alive(batch=lent.batch)))

    async def _give_back(self, lent: Lent, heard: WindowsTranscribed | None) -> None:
        more = heard is not None and not self._own
        if not more and lent.run == self._run:
            self._run = None
        if self._held is not None and lent.batch == self._held.batch:
            self._held = None
        await self._send(lent.owner, encode(Returned(batch=lent.batch, heard=heard, more=more)))
