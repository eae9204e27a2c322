"""The mock of the service: connects to NATS, creates the streams, simulates tasks and replies to requests."""

import asyncio
from contextlib import suppress
from types import TracebackType

import nats.errors
from nats.aio.client import Client as Nats
from nats.aio.msg import Msg
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServiceUnavailableError
from typing_extensions import Self

from natscribe.client.connection import connect, read_settings
from natscribe.client.errors import ClientError, NoJetStreamError
from natscribe.jetstream.nats_py_compat import close
from natscribe.jetstream.streams import ACK_WAIT_S, bucket_configs, bucket_stream, durable, public_streams
from natscribe.jetstream.task_messages import REPLAYS_NOTHING, TaskMessage
from natscribe.mock.live import Report
from natscribe.mock.log import Log
from natscribe.mock.requests import RequestHandlers
from natscribe.mock.task import PlayedTask
from natscribe.mock.voices import Voices
from natscribe.mock.worker_loop import Player
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.progress import State
from natscribe.settings import Settings

_CONSUMER = "natscribe_mock"  # of the task stream
_REPLY_WITHIN_S = 1.0
_FETCH_S = 5.0  # how long one request for a task waits


class Mock:
    """Simulates the service on an empty NATS server, without models: `async with Mock(settings):`.

    `seconds`: how long each attempt of a task takes, unless the task id says otherwise. `report` is called with a line
    of text for each request and each change of a task.

    Raises:
        ClientError: From `async with`: NATS is unreachable, or a service or another mock already runs there.
    """

    def __init__(
        self, settings: Settings | None = None, *, seconds: float = 0.0, report: Report = lambda _: None
    ) -> None:
        self._settings = settings or read_settings()
        self._seconds = seconds
        self._report = report
        self._tasks: dict[str, PlayedTask] = {}
        self._loops: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._nats: Nats = await connect(self._settings)
        try:
            await self._start()
        except BaseException:
            await close(self._nats)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = {*self._loops, *self._player.beside}
        while left:
            for loop in left:
                loop.cancel()  # more than once: before Python 3.12 a request may swallow its cancellation
            _, left = await asyncio.wait(left, timeout=0.1)
        with suppress(nats.errors.Error):
            await self._nats.flush()
        await close(self._nats)
        if error is None:
            self._raise_if_broken()

    async def serve(self) -> None:
        """Run until the mock fails; without a failure, it never returns.

        Raises:
            ClientError: The connection to NATS is lost, or somebody has changed the streams.
        """
        await asyncio.wait(self._loops, return_when=asyncio.FIRST_COMPLETED)
        self._raise_if_broken()

    def _raise_if_broken(self) -> None:
        for loop in (*self._loops, *self._player.beside):
            if loop.done() and not loop.cancelled() and isinstance(error := loop.exception(), nats.errors.Error):
                what = f"NATS was stopped, or its streams were changed ({str(error) or type(error).__name__})"
                raise ClientError(what, "start the mock again on an empty server") from error

    async def _start(self) -> None:
        names = self._settings.stream_names
        await self._refuse_second()
        await self._provision()
        self._log = Log(self._nats, names, self._settings.audio_store)
        voices = Voices(self._log)
        self._player = Player(self._log, self._report, voices, seconds=self._seconds)
        store = self._settings.audio_store
        self._handlers = RequestHandlers(self._tasks, self._player, self._log, voices, audio_store=store)
        for subject in self._handlers.subjects:
            await self._nats.subscribe(subject, cb=self._reply)
        self._loops = [asyncio.create_task(loop) for loop in (self._take(), self._player.play())]
        await self._nats.flush()

    async def _refuse_second(self) -> None:
        """Raise ClientError if the service or another mock already replies to requests on this NATS server."""
        try:
            await self._nats.jetstream().stream_info(self._settings.stream_names.tasks)
            await self._nats.request(subjects.TASK_QUEUES, b"{}", timeout=_REPLY_WITHIN_S)
        except ServiceUnavailableError as error:
            raise NoJetStreamError from error
        except (NotFoundError, nats.errors.NoRespondersError, nats.errors.TimeoutError):
            return  # a service creates its streams before it replies
        addresses = self._settings.nats_addresses
        what = f"A service or another mock runs at {addresses} already"
        raise ClientError(what, "stop it, or set NATS_URL to an empty NATS server")

    async def _provision(self) -> None:
        """Create the streams and buckets that the service creates for its clients, and a consumer of all tasks."""
        js, names = self._nats.jetstream(), self._settings.stream_names
        try:
            for stream in public_streams(names):
                await js.add_stream(stream)
            await js.add_consumer(names.tasks, durable(_CONSUMER, subjects.ALL_TASKS, ack_wait_s=ACK_WAIT_S))
            for bucket in bucket_configs(self._settings.audio_store):
                await js.add_stream(bucket_stream(bucket))
        except (APIError, nats.errors.Error) as error:
            addresses = self._settings.nats_addresses
            what = f"NATS at {addresses} refuses a stream ({error})"
            raise ClientError(what, "start an empty nats-server with -js for the mock") from error

    async def _take(self) -> None:
        """In an endless loop, fetch and accept the messages of the task queues."""
        subscription = await self._nats.jetstream().pull_subscribe_bind(_CONSUMER, self._settings.stream_names.tasks)
        try:
            while True:
                with suppress(nats.errors.TimeoutError):
                    for message in await subscription.fetch(1, timeout=_FETCH_S):
                        await self._accept(TaskMessage.delivered(message))
                        await message.ack()
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()  # else the next task would be delivered to nobody

    async def _reply(self, request: Msg) -> None:
        """Reply to a request if its reply subject is an inbox; on another subject, a stream might store the reply."""
        if subjects.is_inbox(request.reply):
            self._report(f"{request.subject} {request.data.decode(errors='replace')}")
            body, headers = await self._handlers.reply(request)
            await self._nats.publish(request.reply, body, headers=headers)

    async def _accept(self, message: TaskMessage) -> None:
        """Queue the task that a message requests.

        A message with the id of an earlier task is ignored, unless it replays this task after its failure. An invalid
        message is rejected.
        """
        task_id, problem = message.task_id, message.problem
        task = self._tasks.get(task_id or "")
        if problem is None and task is None and message.replay_of is not None:
            problem = REPLAYS_NOTHING
        if problem is not None:
            await self._reject(message, task_id, problem)
        elif task is not None and task.is_replayed_by(message):
            task.restart(message)
            await self._log.delete_segments(task)
            await self._player.enqueue(task)
        elif task is not None or task_id is None:
            self._report(f"{task_id}: known already, nothing changes")
        else:
            await self._queue(PlayedTask(task_id, message.task, message))

    async def _queue(self, task: PlayedTask) -> None:
        self._tasks[task.task_id] = task
        try:
            await self._player.enqueue(task)
        except BadRequestError:  # the log has events already
            del self._tasks[task.task_id]
            self._report(f"{task.task_id}: known from an earlier run of the mock, nothing changes")

    async def _reject(self, message: TaskMessage, task_id: str | None, problem: ErrorDetail) -> None:
        """Record the task of an invalid message as failed; if its id is missing or not new, store a dead letter."""
        if task_id is None or task_id in self._tasks:
            await self._log.store_dead_letter(message, task_id, problem, attempts=0)
        else:
            task = PlayedTask(task_id, None, message)
            with suppress(BadRequestError):  # the log has events of an earlier run of the mock
                await self._log.append(task, State.FAILED, error=problem)
                self._tasks[task_id] = task
        self._report(f"{task_id or 'a message'}: {problem.message}")
