"""Results as text: written one after the other, so that many requests for large results do not stop a running task."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Final

import structlog

from app import formats
from app.errors import RequestError
from app.task_log.results import ResultStore
from app.telemetry.metrics import Meter
from app.updates import Result
from schemas.errors import ErrorCode
from schemas.requests import ResultRequest

# An object above this is not written as text, because that takes longer than clients wait: subtitles take 0.6 s a
# megabyte. The result of five hours of speech with word times is smaller.
LARGEST_WRITTEN_BYTES: Final = 4 * 1024**2
WRITTEN_WITHIN_S: Final = 3.5  # with the time to find a result, less than the five seconds that clients wait
MOST_ASKED: Final = 12  # requests for text at a time: fewer than are answered at once, so that others are told to wait

log = structlog.get_logger()


class ResultWriter:
    """Writes results as text: one at a time, because a large result takes much memory while it is written.

    A thread that writes cannot be stopped. So there is one thread, which ends what was asked in vain before it writes
    the next result.
    """

    def __init__(self, results: ResultStore, meter: Meter) -> None:
        self._results = results
        self._meter = meter
        self._asked = 0
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="result_writer")

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Count a request for a result as text while the body reads and writes the result.

        Raises:
            RequestError: Too many results are asked for at once.
        """
        if self._asked >= MOST_ASKED:
            raise self._refusal()
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1

    async def write(self, result: Result, request: ResultRequest) -> Result | str:
        """Return a result in the requested format, read from its object if the result refers to one.

        If the object is too large, or the text cannot be written in time, return the result that refers to the object.

        Raises:
            NatsError: The object is damaged, or NATS does not answer.
            NotFoundError: The object has expired.
            RequestError: The format cannot hold this result, or the text cannot be written in time.
            TimeoutError: NATS does not answer.
        """
        if result.object and result.object.size > LARGEST_WRITTEN_BYTES:
            return result
        limit = asyncio.timeout(WRITTEN_WITHIN_S)
        try:
            async with limit, self._turn:
                whole = await self._results.whole(result)
                write = partial(formats.write, whole, request.format, request)
                return await asyncio.get_running_loop().run_in_executor(self._thread, write)
        except TimeoutError as error:
            if not limit.expired():
                raise
            if result.object:
                return result
            raise self._refusal() from error

    def close(self) -> None:
        """Write nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _refusal(self) -> RequestError:
        self._meter.result_refused()
        log.warning("result_request_refused")
        message = "The service is asked for too many results as text at once: ask again in a moment, or ask for json."
        return RequestError(ErrorCode.INTERNAL, message)
