"""Work sharing in this worker: while it has no task and cores are free, it transcribes windows of other workers.

A worker that has a task does not subscribe to windows. So NATS sends a window to another worker, or reports at once
that no worker is idle.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from uuid import uuid4

import structlog
from faststream.nats.publisher.usecase import LogicPublisher
from faststream.nats.subscriber.usecases import LogicSubscriber
from nats.aio.msg import Msg
from natscribe.schemas import subjects

from app.engines.cores import MIN_INTERVAL_S, Cores
from app.engines.engine import Engine
from app.engines.messages import Loaded
from app.engines.window_queue import Rank, WindowQueue
from app.engines.windows import WindowReply, WindowRequest, WindowText
from app.runtime.cancellation import discard_all
from app.runtime.errors import TaskError
from app.runtime.supervision import wait_up_to
from app.settings import VERSION, Settings, Share
from app.speech.window_sharing.idle_workers import MAX_CONCURRENT_WINDOWS, MAX_WAIT_S, IdleWorkers

MIN_MAX_PAYLOAD_BYTES = 960_000  # of NATS, for a request with the longest window
CHECK_IDLE_EVERY_S = 5 * MIN_INTERVAL_S  # how often this worker checks whether it may help, on average
SPREAD = 0.75, 1.25  # of its pauses, relative to CHECK_IDLE_EVERY_S: so that workers do not check at the same time

log = structlog.get_logger()


class WorkSharing:
    """Lets idle workers transcribe windows (parts of recordings) for workers that run tasks.

    This worker transcribes windows of others while it is idle, and sends windows of its own tasks to idle workers.
    """

    def __init__(
        self,
        publisher: LogicPublisher | None,
        engine: Engine,
        windows: WindowQueue,
        subscriber: LogicSubscriber[Msg],
        settings: Settings,
    ) -> None:
        """Set up work sharing; it starts with the calls of `update_subscription`.

        `publisher`: requests windows from other workers; None: a request with a window is too large for NATS.
        `subscriber`: receives windows of other workers while it is started.
        """
        self._publisher = None if settings.share_windows is Share.NEVER else publisher
        self._engine = engine
        self._windows = windows
        self._subscriber = subscriber
        self._subject = subjects.windows(engine_hash(settings))
        self._worker = uuid4().hex
        self._own_tasks = 0  # how many tasks this worker runs
        self._busy = asyncio.Event()  # set while this worker runs a task
        self._shared_windows = 0  # how many windows of other workers this worker transcribes
        self._at_once = asyncio.Semaphore(MAX_CONCURRENT_WINDOWS)
        self._cores = None if settings.share_windows is Share.ALWAYS else settings.engine_threads
        self._measured = Cores()
        self._random = random.Random()  # noqa: S311 -- no secret; its own, because other code may seed the common one
        self._was_started = False  # whether FastStream has started the subscriber

    @asynccontextmanager
    async def pause_sharing(self) -> AsyncIterator[None]:
        """Transcribe no windows of other workers while the `with` block runs a task of this worker."""
        self._own_tasks += 1
        self._busy.set()
        try:
            yield
        finally:
            self._own_tasks -= 1
            if not self._own_tasks:
                self._busy.clear()

    def idle_workers(self, loaded: Loaded) -> IdleWorkers | None:
        """Return the `IdleWorkers` to which a `WindowPipeline` gives windows to transcribe; None: sharing is off.

        `loaded`: the engine of this worker; only workers with the same engine transcribe the windows.
        """
        if self._publisher is None:
            return None
        return IdleWorkers(self._publisher, self._subject, loaded.model, engine_fingerprint(loaded))

    async def update_subscription(self) -> None:
        """Wait about a second, then start or stop the subscriber, depending on whether this worker may help others now.

        The subscriber is not stopped while this worker transcribes a window of another worker. FastStream starts the
        subscriber for the first time, with the broker; this method must not start it earlier, because a subscriber that
        is started twice loses messages.
        """
        await self._pause()
        may_help, is_running = self._may_help(), self._subscriber.running
        self._was_started = self._was_started or is_running
        if may_help and self._was_started and not is_running:
            await self._subscriber.start()
        elif is_running and not may_help and not self._shared_windows:
            await self._subscriber.stop()

    def _may_help(self) -> bool:
        is_core_free = self._cores is None or self._measured.free(self._cores)
        return self._publisher is not None and is_core_free and not self._own_tasks and self._engine.loaded is not None

    async def _pause(self) -> None:
        """Wait about a second; if this worker has no task, return as soon as it starts one."""
        seconds = CHECK_IDLE_EVERY_S * self._random.uniform(*SPREAD)
        if self._busy.is_set():
            await asyncio.sleep(seconds)
            return
        await wait_up_to(seconds, self._busy)

    def stop_sharing(self) -> None:
        """Stop transcribing windows of other workers for good, and decline their pending requests.

        This is called before the connection to NATS closes.
        """
        self._own_tasks += 1
        self._busy.set()

    async def transcribe_window(self, request: WindowRequest) -> WindowReply:
        """Transcribe a window of another worker, and return the reply to its request.

        The reply has no text if this worker has a task of its own or another model or fingerprint, or if its engine
        fails.
        """
        if self._publisher is None or self._busy.is_set() or not self._has_engine_for(request):
            return WindowReply(worker=self._worker, text=None)
        if not self._shared_windows:
            log.info("shared_window_started")
        self._shared_windows += 1
        try:
            return WindowReply(worker=self._worker, text=await self._text_unless_busy(request))
        except TaskError as error:
            log.warning("shared_window_failed", error=error.detail.code)
            return WindowReply(worker=self._worker, text=None)
        finally:
            self._shared_windows -= 1

    def _has_engine_for(self, request: WindowRequest) -> bool:
        loaded = self._engine.loaded
        return loaded is not None and (loaded.model, engine_fingerprint(loaded)) == (request.model, request.fingerprint)

    async def _text_unless_busy(self, request: WindowRequest) -> WindowText | None:
        """Transcribe a window and return its text; None if this worker gets a task of its own first, or after 2 min.

        Raises:
            TaskError: The engine failed.
        """
        text, busy = asyncio.create_task(self._text(request)), asyncio.create_task(self._busy.wait())
        try:
            await asyncio.wait([text, busy], timeout=MAX_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
            return text.result() if text.done() else None
        finally:
            await discard_all([text, busy])

    async def _text(self, request: WindowRequest) -> WindowText:
        async with self._at_once:
            return await self._windows.transcribe(request.window, request.options, request.previous, Rank.SHARED)


def engine_fingerprint(loaded: Loaded) -> str:
    """Return the fingerprint of an engine: engines with the same model and fingerprint produce the same texts.

    It includes the version of the service, because another version may produce other texts.
    """
    return f"{VERSION} {loaded.fingerprint}"


def engine_hash(settings: Settings) -> str:
    """Return a hash of the service's version and of the settings that determine the engine.

    Only workers with the same hash may transcribe windows for each other.
    """
    parts = (
        *(VERSION, settings.transcription_model or "", settings.engine_device.value),
        *(settings.engine_compute_type or "", str(settings.engine_beam)),
    )
    return sha256("\n".join(parts).encode()).hexdigest()[:16]
