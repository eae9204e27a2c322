"""The owner's side of sharing: who helps is asked for, given batches, and done without where it is lost."""

import asyncio
from base64 import b64decode
from collections.abc import Awaitable, Callable
from uuid import uuid4

import structlog

from app.cancellation import cancel_all
from app.engines.messages import Transcribe, WindowSound, WindowsTranscribed, WindowTranscribed
from app.engines.window_transcribers import HelperLostError, WindowTranscriber
from app.work_sharing.messages import Alive, Lent, Returned, encode
from schemas.sharing import WindowsOffered

SILENT_FOR = 5.0  # seconds after which a helper is lost
SLOWER = 3  # times what the owner needs for a batch: who takes longer holds back all that comes after it
SHORTEST_LOAN, LONGEST_LOAN = 20.0, 120.0  # seconds: whatever that is
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 30.0  # seconds between offers: they double while nobody comes
MOST_HELPERS = 8  # each holds a batch, and the owner holds it too until it is heard
_LONGEST_TEXT = 5000  # characters of a window
_ROUNDING = 0.002  # seconds

Send = Callable[[str, bytes], Awaitable[None]]  # to a worker's inbox

log = structlog.get_logger()


class Lender:
    """Finds helpers for one run; close it when the run ends."""

    def __init__(self, offer: WindowsOffered, say: Callable[[WindowsOffered], Awaitable[None]], send: Send) -> None:
        self._offer = offer
        self._say = say
        self._send = send
        self._wanted = asyncio.Event()
        self._came = asyncio.Event()
        self._joined: asyncio.Queue[Loan] = asyncio.Queue()
        self._helpers: set[str] = set()
        self.loans: dict[str, Loan] = {}  # by batch
        self.longest = LONGEST_LOAN
        self._offers = asyncio.create_task(self._offer_again_and_again())

    def want(self, *, more: bool, seconds: float) -> None:
        """Whether more windows wait than the owner hears next, and how long it takes over a batch."""
        self.longest = min(max(SLOWER * seconds, SHORTEST_LOAN), LONGEST_LOAN)
        if more and len(self._helpers) < MOST_HELPERS:
            self._wanted.set()
        else:
            self._wanted.clear()

    async def helper(self) -> WindowTranscriber:
        """The next one who comes."""
        return await self._joined.get()

    def volunteered(self, helper: str) -> None:
        """Somebody offers to help."""
        if helper not in self._helpers and len(self._helpers) < MOST_HELPERS:
            self._helpers.add(helper)
            self._came.set()
            self._joined.put_nowait(Loan(self, helper, self._offer, self._send))

    def leave(self, helper: str) -> None:
        """Somebody does not help any more; they may come again."""
        self._helpers.discard(helper)

    async def close(self) -> None:
        """Ask for nobody any more."""
        await cancel_all([self._offers])

    async def _offer_again_and_again(self) -> None:
        pause = FIRST_PAUSE
        while True:
            await self._wanted.wait()
            self._came.clear()
            await self._say(self._offer)
            await asyncio.sleep(pause)
            pause = FIRST_PAUSE if self._came.is_set() else min(2 * pause, LONGEST_PAUSE)


class Loan:
    """The engine of another worker: it is sent batches, and answers or is given up."""

    def __init__(self, lender: Lender, helper: str, offer: WindowsOffered, send: Send) -> None:
        self._lender = lender
        self._helper = helper
        self._offer = offer
        self._send = send
        self._said: asyncio.Queue[Alive | Returned] = asyncio.Queue()
        self.goes_on = True

    def say(self, line: Alive | Returned) -> None:
        """The helper has said something about its batch."""
        self._said.put_nowait(line)

    async def transcribe(self, job: Transcribe) -> WindowsTranscribed:
        """What is said in the windows of a batch (HelperLostError)."""
        if not self.goes_on:
            raise HelperLostError
        batch = uuid4().hex
        self._lender.loans[batch] = self
        heard = None
        limit = asyncio.timeout(self._lender.longest)
        try:
            async with limit:
                await self._lend(job, batch)
                heard = await self._answer(batch)
        except TimeoutError:
            log.warning("helper_lost")
        finally:
            del self._lender.loans[batch]
            if not limit.expired() and (heard is None or not self.goes_on):  # who is slow is not asked again
                self._lender.leave(self._helper)
        if heard is None:
            raise HelperLostError
        if not _is_answer(heard, job, self._offer):  # nor is it asked again in this run
            log.warning("helper_not_believed")
            raise HelperLostError
        return heard

    async def _lend(self, job: Transcribe, batch: str) -> None:
        for number, window in enumerate(job.windows):
            lent = Lent(
                run=self._offer.run,
                owner=self._offer.owner,
                batch=batch,
                number=number,
                of=len(job.windows),
                pieces=window.pieces,
                options=job.options,
                previous=job.previous,
            )
            await self._send(self._helper, encode(lent, b64decode(window.samples)))

    async def _answer(self, batch: str) -> WindowsTranscribed | None:
        while True:
            async with asyncio.timeout(SILENT_FOR):
                said = await self._said.get()
            if isinstance(said, Returned) and said.batch == batch:
                self.goes_on = said.more
                return said.heard


def _is_answer(heard: WindowsTranscribed, job: Transcribe, offer: WindowsOffered) -> bool:
    """Whether that can be what was asked for: by the same model, each window in its place, in the task's language."""
    return (
        heard.model == offer.model
        and len(heard.found) == len(job.windows)
        and all(_lies_in(window, found) for window, found in zip(job.windows, heard.found, strict=True))
        and (job.options.language is None or _languages(heard) <= {None, job.options.language})
    )


def _languages(heard: WindowsTranscribed) -> set[str | None]:
    return {segment.language for found in heard.found for segment in found.segments}


def _lies_in(window: WindowSound, found: WindowTranscribed) -> bool:
    first, last = window.pieces[0][0] - _ROUNDING, window.end + _ROUNDING
    stretches = [(segment.start, segment.end) for segment in found.segments]
    stretches += [(word.start, word.end) for segment in found.segments for word in segment.words or ()]
    stretches += [(stretch.start, stretch.end) for stretch in found.untranscribed]
    return (
        all(first <= start <= end <= last for start, end in stretches)
        and sum(len(segment.text) for segment in found.segments) <= _LONGEST_TEXT
        and all(segment.words for segment in found.segments)
    )
