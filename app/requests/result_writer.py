"""Writes results as text for `tasks.result`, one at a time, so that many requests do not stop a running task."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import structlog
from nats.js.errors import NotFoundError
from natscribe import formats
from natscribe.jetstream.large_results import HEADROOM_BYTES
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.requests import ResultRequest

from app.errors import RequestError
from app.requests.voice_names import VoiceNames
from app.task_log.record import Record
from app.task_log.results import ResultStore
from app.telemetry.metrics import Meter
from app.updates import Result

# An object above this is not written as text, because that takes longer than clients wait: subtitles take 0.6 s a
# megabyte. The result of five hours of speech with word times is smaller.
LARGEST_WRITTEN_BYTES: Final = 4 * 1024**2
WRITTEN_WITHIN_S: Final = 3.0  # with the time to find a task, less than the five seconds that clients wait
MOST_ASKED: Final = 48  # requests that wait for their turn: with more than this, a request gets an error

log = structlog.get_logger()


class ResultWriter:
    """Writes results as text: one at a time, because a large result takes much memory while it is written.

    A thread that writes cannot be stopped, even if its request has timed out. So all results are written by one thread,
    and the next result waits until that thread is free.
    """

    def __init__(self, results: ResultStore, names: VoiceNames, meter: Meter, *, max_payload: int) -> None:
        self._results = results
        self._names = names
        self._meter = meter
        self._largest = max_payload - HEADROOM_BYTES  # headers count towards max_payload
        self._asked = 0
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="result_writer")

    async def write(self, last: Record, request: ResultRequest) -> Result | str:
        """Return the result of a task in the requested text format; `last` is the last record of the task's log.

        If the text is too large for a message, return the result without segments, which names the object that holds
        the result; the object is made if there is none. Return the same if there is an object of more than
        LARGEST_WRITTEN_BYTES, or an object and the time is over.

        Raises:
            NatsError: The object is damaged, or NATS does not answer.
            NotFoundError: The result has expired.
            RequestError: The format cannot hold this result, too many requests wait for a text, or the time is over.
            TimeoutError: NATS does not answer.
        """
        if self._asked >= MOST_ASKED:
            raise self._refusal()
        limit = asyncio.timeout(WRITTEN_WITHIN_S)
        result: Result | None = None
        self._asked += 1
        try:
            async with limit, self._turn:
                result = await self._found(last)
                return await self._text(result, last, request)
        except TimeoutError as error:
            if not limit.expired():
                raise
            if result is None or result.object is None:
                raise self._refusal() from error
            return await self._names.joined(result)
        finally:
            self._asked -= 1

    def close(self) -> None:
        """Begin no more texts; the thread finishes the text that it writes now."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _found(self, last: Record) -> Result:
        result = await self._results.find(last)
        if result is None:
            raise NotFoundError
        return result

    async def _text(self, result: Result, last: Record, request: ResultRequest) -> Result | str:
        named = await self._names.joined(result)
        if result.object and result.object.size > LARGEST_WRITTEN_BYTES:
            return named
        whole = (await self._results.load_segments(result)).model_copy(update={"voices": named.voices})
        try:
            write = partial(formats.write, whole, request.format, request)
            text = await asyncio.get_running_loop().run_in_executor(self._thread, write)
        except formats.FormatUnavailableError as error:
            raise RequestError(ErrorCode.FORMAT_UNAVAILABLE, str(error)) from error
        if len(text.encode()) <= self._largest:
            return text
        if result.object:
            return named
        # The object has no names: it is stored for longer than they may be known.
        reference = await self._results.store_object(result, result.model_dump_json().encode(), of=last.metadata.owner)
        return reference.model_copy(update={"voices": named.voices})

    def _refusal(self) -> RequestError:
        self._meter.refused_results.inc()
        log.warning("result_request_refused")
        message = "The service is asked for too many results as text at once: ask again in a moment, or ask for json."
        return RequestError(ErrorCode.INTERNAL, message)
