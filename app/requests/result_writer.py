"""Converts results to files for `tasks.result`, one at a time, so that requests do not slow down a running task."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import structlog
from nats.js.errors import NotFoundError
from natscribe import formats
from natscribe.jetstream.large_results import HEADROOM_BYTES
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.requests import ResultFormat, ResultRequest

from app.requests.voice_names import with_voice_names
from app.runtime.errors import RequestError
from app.runtime.telemetry.metrics import Meter
from app.speech.updates import Result
from app.speech.voices.store import VoiceStore
from app.tasks.task_log.record import Record
from app.tasks.task_log.results import ResultStore

# A larger object is not formatted, because that takes longer than clients wait: subtitles take 0.6 s per megabyte. The
# result of five hours of speech with word times is smaller.
MAX_FORMATTED_BYTES: Final = 4 * 1024**2
WRITTEN_WITHIN_S: Final = 3.0  # with the time to find a task, less than the 5 s that clients wait
MAX_WAITING: Final = 48  # requests that wait for their turn; any more get an error

log = structlog.get_logger()


class ResultWriter:
    """Converts results to files such as subtitles, one at a time, because converting a large result takes much memory.

    A thread cannot be stopped, even if its request has timed out. So one thread converts all results, and the next
    result waits until the thread is free.
    """

    def __init__(self, results: ResultStore, voices: VoiceStore, meter: Meter, *, max_payload: int) -> None:
        self._results = results
        self._voices = voices
        self._meter = meter
        self._largest = max_payload - HEADROOM_BYTES  # headers count towards max_payload
        self._waiting = 0
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="result_writer")

    async def write(self, last: Record, request: ResultRequest) -> Result | bytes:
        """Return the result of a task as a file in the requested format; `last` is the last record of the task's log.

        In JSON, return the result itself, with the current names of its speakers.

        Return a reference to the result in the Object Store instead, i.e. the result without segments, if the file does
        not fit into a message; the result is stored there first if necessary. Return the reference also if a stored
        result is larger than MAX_FORMATTED_BYTES, or is not converted within WRITTEN_WITHIN_S.

        Raises:
            NatsError: The object is damaged, or NATS does not answer.
            NotFoundError: The result has expired, or its object, which expires a moment before the message.
            RequestError: The result is not available in this format, too many requests wait, or the result was not
                converted within WRITTEN_WITHIN_S.
            TimeoutError: NATS does not answer.
        """
        if request.format is ResultFormat.JSON:
            return await with_voice_names(await self._find(last), self._voices)
        if self._waiting >= MAX_WAITING:
            raise self._refusal()
        limit = asyncio.timeout(WRITTEN_WITHIN_S)
        result: Result | None = None
        self._waiting += 1
        try:
            async with limit, self._turn:
                result = await self._find(last)
                return await self._file(result, last, request)
        except TimeoutError as error:
            if not limit.expired():
                raise
            if result is None or result.object is None:
                raise self._refusal() from error
            return await with_voice_names(result, self._voices)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Shut down the writing thread without waiting for it: it finishes its current file, and starts no other."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _find(self, last: Record) -> Result:
        result = await self._results.find(last)
        if result is None:
            raise NotFoundError
        return result

    async def _file(self, result: Result, last: Record, request: ResultRequest) -> Result | bytes:
        named = await with_voice_names(result, self._voices)
        if result.object and result.object.size > MAX_FORMATTED_BYTES:
            return named
        whole = (await self._results.load_segments(result)).model_copy(update={"voices": named.voices})
        try:
            write = partial(formats.write, whole, request.format, request)
            content = await asyncio.get_running_loop().run_in_executor(self._thread, write)
        except formats.FormatUnavailableError as error:
            raise RequestError(ErrorCode.FORMAT_UNAVAILABLE, str(error)) from error
        if len(file := formats.encoded(content)) <= self._largest:
            return file
        if result.object:
            return named
        # The object has no names: it is stored for longer than names may be known.
        reference = await self._results.store_object(result, result.model_dump_json().encode(), of=last.metadata.owner)
        return reference.model_copy(update={"voices": named.voices})

    def _refusal(self) -> RequestError:
        self._meter.refused_results.inc()
        log.warning("result_request_refused")
        message = "Too many requests for results as text wait: try again in a moment, or request json."
        return RequestError(ErrorCode.INTERNAL, message)
