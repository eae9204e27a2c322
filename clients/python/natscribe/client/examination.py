"""Examines NATS, the service, the user's rights and the versions: what is there, and what is wrong."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import nats.errors
from nats.js.errors import NotFoundError, ServiceUnavailableError
from pydantic import BaseModel, Field

from natscribe.client.bucket import Bucket
from natscribe.client.connection import connect
from natscribe.client.errors import ClientError, NoJetStreamError, NotAllowedError, StorageFullError, UnreachableError
from natscribe.client.permission_checks import NO_SUCH_NAME, Right, rights
from natscribe.client.permissions import Connection
from natscribe.client.recordings import upload_store
from natscribe.client.workers import workers
from natscribe.jetstream.nats_py_compat import close
from natscribe.schemas import subjects
from natscribe.schemas.wire import Lane, Priority
from natscribe.schemas.workers import Problem, WorkerInfo
from natscribe.settings import Settings

CONNECTED_WITHIN_S = 10.0
CHECKED_WITHIN_S = 4.0
CLOSED_WITHIN_S = 1.0
ROUND_TRIP_WITHIN_S = 2
OLDEST_SERVER = (2, 12)  # earlier servers cannot schedule messages
_NAMED = 3  # at most this number of workers is named in a sentence

T = TypeVar("T")


class Server(BaseModel):
    """The server that the client is connected to."""

    address: str
    version: str
    further_servers: list[str]
    round_trip_ms: float


class Examination(BaseModel):
    """What was found; a part that could not be examined is null or empty."""

    ok: bool = True
    nats_url: str
    user: str | None
    inbox_prefix: str
    audio_store: str
    client_version: str
    server: Server | None = None
    task_stream: str | None = None
    workers: list[WorkerInfo] = Field(default_factory=list)
    rights: list[Right] = Field(default_factory=list)
    problems: list[Problem] = Field(default_factory=list)


async def examine(settings: Settings) -> Examination:
    """Examine everything that a client depends on; this ends within about 20 seconds."""
    found = Examination(
        nats_url=settings.nats_addresses,
        user=settings.nats_user or (str(settings.nats_creds_file) if settings.nats_creds_file else None),
        inbox_prefix=settings.nats_inbox_prefix,
        audio_store=settings.audio_store,
        client_version=version("natscribe"),
    )
    connection: Connection | None = None
    try:
        connection = await _in_time(connect(settings), CONNECTED_WITHIN_S, f"NATS at {settings.nats_addresses}")
        await _Examiner(settings, connection, found).run()
    except ClientError as error:
        _add(found, error)
    finally:
        if connection is not None:
            await asyncio.wait([asyncio.ensure_future(close(connection))], timeout=CLOSED_WITHIN_S)
    found.ok = not found.problems
    return found


@dataclass
class _Examiner:
    """Examines NATS and the service over one connection."""

    settings: Settings
    connection: Connection
    found: Examination

    async def run(self) -> None:
        """Do all checks.

        Raises:
            ClientError: NATS does not answer, or refuses the inbox: no check can find anything then.
        """
        self.found.server = await _server(self.connection, self.settings)
        if tuple(map(int, self.found.server.version.split(".")[:2])) < OLDEST_SERVER:
            oldest = ".".join(map(str, OLDEST_SERVER))
            self._wrong(
                f"NATS has version {self.found.server.version}, and the service needs {oldest}", "update nats-server"
            )
        self.found.rights = await _in_time(rights(self.connection, self.settings), CHECKED_WITHIN_S, "NATS")
        if not any(right.allowed and right.subject.islower() for right in self.found.rights):
            name = f"user {self.found.user!r}" if self.found.user else "login"
            self._wrong(
                f"The {name} may send no request of the service",
                "log in as publisher, follower or operator (NATS_USER, NATS_PASSWORD and NATS_INBOX_PREFIX)",
            )
            return
        await asyncio.gather(self._noted(self._examine_workers), self._noted(self._examine_jetstream))
        if self.found.workers and self._may("transcribe"):
            await self._noted(self._examine_store)

    async def _noted(self, check: Callable[[], Awaitable[None]]) -> None:
        try:
            await check()
        except ClientError as error:
            _add(self.found, error)

    def _wrong(self, what: str, next_step: str) -> None:
        self.found.problems.append(Problem(what=what, next_step=next_step))

    def _may(self, command: str) -> bool:
        return any(right.allowed for right in self.found.rights if right.command == command)

    async def _examine_jetstream(self) -> None:
        js, subject = self.connection.jetstream(), subjects.tasks(Lane.TRANSCRIPTION, Priority.NORMAL)
        try:
            name = await _in_time(js.find_stream_name_by_subject(subject), CHECKED_WITHIN_S, "JetStream")
        except (NotAllowedError, NotFoundError):
            return  # without a worker the stream may be missing: that is told anyway
        except ServiceUnavailableError as error:
            raise NoJetStreamError from error
        except nats.errors.Error as error:
            message = "JetStream does not answer: look at the log of NATS; in a cluster, start more than half of it."
            raise UnreachableError(message) from error
        self.found.task_stream = name
        wanted = self.settings.stream_names.tasks
        if name != wanted:
            self._wrong(f"Tasks are stored in the stream {name}, not in {wanted}", f"set NATS_STREAM_NAME={name}")

    async def _examine_workers(self) -> None:
        found = await _in_time(workers(self.connection), CHECKED_WITHIN_S, "The service")
        self.found.workers = found
        self._of_some(
            [each for each in found if not each.redis_answers],
            "Redis does not answer",
            "start Redis, or correct REDIS_URL there (runbook: RedisDown); tasks run meanwhile",
        )
        self._of_some(
            [each for each in found if not each.audio_store_answers],
            "The store of recordings does not answer",
            "correct AUDIO_STORE and its credentials there, or wait until the store is back",
        )
        self._of_some(
            [each for each in found if each.model is None],
            "No model is loaded in",
            "wait if the worker has just started, else look at its log (runbook: ModelNotLoaded)",
        )
        self.found.problems += {each.what: each for worker in found for each in worker.problems}.values()
        for other in sorted({each.version for each in found if not _same_release(each.version, _CLIENT)}):
            newer = _release(other) > _release(_CLIENT)
            older = "this client (pip install ./clients/python in a newer checkout)" if newer else "the service"
            self._of_some(
                [each for each in found if each.version == other],
                f"This client has version {_CLIENT}, and {other} is the version of",
                f"update {older}",
            )

    def _of_some(self, some: Sequence[WorkerInfo], what: str, next_step: str) -> None:
        """Note a problem of the workers in `some`, if any; their names follow the sentence `what`."""
        if not some:
            return
        names = ", ".join(each.worker for each in some[:_NAMED])
        more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
        self._wrong(f"{what} {len(some)} of {len(self.found.workers)} workers ({names}{more})", next_step)

    async def _examine_store(self) -> None:
        theirs, ours = self.found.workers[0].audio_store, self.settings.audio_store
        if theirs.rstrip("/") != ours.rstrip("/") and not theirs.startswith("file:"):
            self._wrong(f"The service looks for recordings in {theirs}, not in {ours}", f"set AUDIO_STORE={theirs}")
            return
        store = upload_store(self.settings, self.connection)
        if store is not None and all(right.allowed for right in self.found.rights if right.command == "upload"):
            await _in_time(store.differs(Path(), NO_SUCH_NAME), CHECKED_WITHIN_S, f"The store of recordings {ours}")
            if isinstance(store, Bucket):
                await self._examine_bucket(store)

    async def _examine_bucket(self, bucket: Bucket) -> None:
        try:
            await _in_time(bucket.check(), 2 * CHECKED_WITHIN_S, f"The store of recordings {self.settings.audio_store}")
        except StorageFullError as error:
            self._wrong(error.what, error.next_step)


_CLIENT = version("natscribe")


def _release(number: str) -> tuple[str, ...]:
    return tuple(part.zfill(6) for part in number.split(".")[:2])


def _same_release(one: str, other: str) -> bool:
    """Whether two versions speak the same contract: only the last number may differ."""
    return _release(one) == _release(other)


def _add(found: Examination, error: ClientError) -> None:
    """Note an error, whose message is the problem and, after a colon, the next step."""
    what, _, next_step = str(error).rpartition(": ")
    found.problems.append(Problem(what=what, next_step=next_step.rstrip(".")))


async def _server(connection: Connection, settings: Settings) -> Server:
    try:
        seconds = await connection.rtt(ROUND_TRIP_WITHIN_S)
    except nats.errors.Error as error:
        message = f"NATS at {settings.nats_addresses} accepts connections but does not answer: look at the log of NATS."
        raise UnreachableError(message) from error
    url, known = connection.connected_url, connection.connected_server_version
    return Server(
        address=f"{url.hostname}:{url.port}" if url else settings.nats_addresses,
        version=f"{known.major}.{known.minor}.{known.patch}",
        further_servers=sorted(f"{each.hostname}:{each.port}" for each in connection.discovered_servers),
        round_trip_ms=round(seconds * 1000, 1),
    )


async def _in_time(work: Awaitable[T], within_s: float, who: str) -> T:
    """Return the result of the work; if it takes longer than `within_s`, raise UnreachableError about `who`."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=within_s)
        if task.done():
            return task.result()
    finally:
        task.cancel()
    message = f"{who} did not answer within {within_s:.0f} s: see whether it is overloaded, then try again."
    raise UnreachableError(message)
