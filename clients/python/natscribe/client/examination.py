"""Diagnoses NATS, the service, the user's permissions and the versions for `natscribe doctor`."""

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
from natscribe.client.errors import ClientError, NoJetStreamError, NotAllowedError, UnreachableError
from natscribe.client.operations import workers
from natscribe.client.permission_checks import UNUSED_NAME, Permission, check_permissions
from natscribe.client.permissions import Connection
from natscribe.client.recordings import upload_store
from natscribe.jetstream.nats_py_compat import close
from natscribe.jetstream.server_version import durability_problem
from natscribe.schemas import subjects
from natscribe.schemas.wire import Priority, TaskType
from natscribe.schemas.workers import Problem, WorkerInfo
from natscribe.settings import Settings

CONNECTED_WITHIN_S = 10.0
CHECKED_WITHIN_S = 4.0
CLOSED_WITHIN_S = 1.0
ROUND_TRIP_WITHIN_S = 2
OLDEST_SERVER = (2, 12)  # earlier servers cannot schedule messages
_MAX_NAMES = 3  # of workers in a sentence
_CLIENT_VERSION = version("natscribe")

T = TypeVar("T")


class Server(BaseModel):
    """The NATS server to which the client is connected, and the other servers of its cluster."""

    address: str
    version: str
    further_servers: list[str]
    round_trip_ms: float


class Examination(BaseModel):
    """The report of `examine`: the client's settings, the state of NATS and of the service, and the problems found.

    `ok`: whether there are no problems. `user`: the login to NATS, i.e. a user name or the path of a credentials file.
    `task_stream`: the name of the stream that stores tasks. `rights`: what NATS permits the user to do. A part that
    could not be examined is None or empty.
    """

    ok: bool = True
    nats_url: str
    user: str | None
    inbox_prefix: str
    audio_store: str
    client_version: str
    server: Server | None = None
    task_stream: str | None = None
    workers: list[WorkerInfo] = Field(default_factory=list)
    rights: list[Permission] = Field(default_factory=list)
    problems: list[Problem] = Field(default_factory=list)


async def examine(settings: Settings) -> Examination:
    """Examine everything on which a client depends, for at most about 20 seconds, and return the report."""
    report = Examination(
        nats_url=settings.nats_addresses,
        user=settings.nats_user or (str(settings.nats_creds_file) if settings.nats_creds_file else None),
        inbox_prefix=settings.nats_inbox_prefix,
        audio_store=settings.audio_store,
        client_version=_CLIENT_VERSION,
    )
    connection: Connection | None = None
    try:
        connection = await _in_time(connect(settings), CONNECTED_WITHIN_S, f"NATS at {settings.nats_addresses}")
        await _Examiner(settings, connection, report).examine()
    except ClientError as error:
        report.problems.append(_problem(error))
    finally:
        if connection is not None:
            await asyncio.wait([asyncio.ensure_future(close(connection))], timeout=CLOSED_WITHIN_S)
    report.ok = not report.problems
    return report


@dataclass
class _Examiner:
    """Examines NATS and the service over one connection, and enters their state and all problems into `report`."""

    settings: Settings
    connection: Connection
    report: Examination

    async def examine(self) -> None:
        """Check NATS, the user's permissions, the service and its storage; enter all outcomes into `report`.

        Raises:
            ClientError: No further check is possible: NATS does not reply, or does not let the user receive replies.
        """
        report = self.report
        report.server = await _server(self.connection, self.settings)
        if tuple(map(int, report.server.version.split(".")[:2])) < OLDEST_SERVER:
            oldest = ".".join(map(str, OLDEST_SERVER))
            self._add(f"NATS has version {report.server.version}, and the service needs {oldest}", "update nats-server")
        elif problem := durability_problem(self.connection.connected_server_version):
            report.problems.append(problem)
        report.rights = await _in_time(check_permissions(self.connection, self.settings), CHECKED_WITHIN_S, "NATS")
        if not any(permission.allowed and permission.subject.islower() for permission in report.rights):
            name = f"user {report.user!r}" if report.user else "login"
            self._add(
                f"The {name} may send no request of the service",
                "log in as publisher, follower or operator (NATS_USER, NATS_PASSWORD and NATS_INBOX_PREFIX)",
            )
            return
        await asyncio.gather(self._run_check(self._check_workers), self._run_check(self._check_jetstream))
        if report.workers and any(p.allowed for p in report.rights if p.command == "transcribe"):
            await self._run_check(self._check_store)

    async def _run_check(self, check: Callable[[], Awaitable[None]]) -> None:
        try:
            await check()
        except ClientError as error:
            self.report.problems.append(_problem(error))

    def _add(self, what: str, next_step: str) -> None:
        self.report.problems.append(Problem(what=what, next_step=next_step))

    async def _check_jetstream(self) -> None:
        js, subject = self.connection.jetstream(), subjects.tasks(TaskType.TRANSCRIPTION, Priority.NORMAL)
        try:
            name = await _in_time(js.find_stream_name_by_subject(subject), CHECKED_WITHIN_S, "JetStream")
        except (NotAllowedError, NotFoundError):
            return  # without a worker the stream may be missing: the missing worker is reported
        except ServiceUnavailableError as error:
            raise NoJetStreamError from error
        except nats.errors.Error as error:
            what = "JetStream does not answer"
            raise UnreachableError(what, "read the log of NATS; in a cluster, start more than half of it") from error
        self.report.task_stream = name
        expected = self.settings.stream_names.tasks
        if name != expected:
            self._add(f"Tasks are stored in the stream {name}, not in {expected}", f"set NATS_STREAM_NAME={name}")

    async def _check_workers(self) -> None:
        infos = await _in_time(workers(self.connection), CHECKED_WITHIN_S, "The service")
        self.report.workers = infos
        self._add_for(
            [info for info in infos if not info.redis_answers],
            "Redis does not answer",
            "start Redis, or correct REDIS_URL there (runbook: RedisDown); tasks run meanwhile",
        )
        self._add_for(
            [info for info in infos if not info.audio_store_answers],
            "The store of recordings does not answer",
            "correct AUDIO_STORE and its credentials there, or wait until the store is back",
        )
        self._add_for(
            [info for info in infos if info.model is None],
            "No model is loaded in",
            "wait if the worker has just started; else read its log (runbook: ModelNotLoaded)",
        )
        self.report.problems += {problem.what: problem for info in infos for problem in info.problems}.values()
        self._check_versions(infos)

    def _check_versions(self, infos: Sequence[WorkerInfo]) -> None:
        """Report the workers that are incompatible with this client: their major or minor version is different."""
        client = _release(_CLIENT_VERSION)
        for other in sorted({info.version for info in infos if _release(info.version) != client}):
            is_newer = _release(other) > client
            older = "this client (pip install ./clients/python in a newer checkout)" if is_newer else "the service"
            self._add_for(
                [info for info in infos if info.version == other],
                f"This client has version {_CLIENT_VERSION}, and {other} is the version of",
                f"update {older}",
            )

    def _add_for(self, affected: Sequence[WorkerInfo], what: str, next_step: str) -> None:
        """Add a problem that concerns the workers `affected`, unless there are none.

        `what`: the start of a sentence, to which the number and the names of these workers are appended. `next_step`:
        what the user should do about the problem.
        """
        if not affected:
            return
        names = ", ".join(info.worker for info in affected[:_MAX_NAMES])
        more = f" and {len(affected) - _MAX_NAMES} more" if len(affected) > _MAX_NAMES else ""
        self._add(f"{what} {len(affected)} of {len(self.report.workers)} workers ({names}{more})", next_step)

    async def _check_store(self) -> None:
        theirs, ours = self.report.workers[0].audio_store, self.settings.audio_store
        if theirs.rstrip("/") != ours.rstrip("/") and not theirs.startswith("file:"):
            self._add(f"The service reads recordings from {theirs}, not in {ours}", f"set AUDIO_STORE={theirs}")
            return
        store = upload_store(self.settings, self.connection)
        if store is None or not all(p.allowed for p in self.report.rights if p.command == "upload"):
            return
        who = f"The store of recordings {ours}"
        await _in_time(store.differs(Path(), UNUSED_NAME), CHECKED_WITHIN_S, who)
        if isinstance(store, Bucket):
            await _in_time(store.check(), 2 * CHECKED_WITHIN_S, who)


def _release(number: str) -> tuple[str, ...]:
    return tuple(part.zfill(6) for part in number.split(".")[:2])


def _problem(error: ClientError) -> Problem:
    return Problem(what=error.what, next_step=error.next_step)


async def _server(connection: Connection, settings: Settings) -> Server:
    try:
        seconds = await connection.rtt(ROUND_TRIP_WITHIN_S)
    except nats.errors.Error as error:
        what = f"NATS at {settings.nats_addresses} accepts connections but does not answer"
        raise UnreachableError(what, "read the log of NATS") from error
    url, number = connection.connected_url, connection.connected_server_version
    return Server(
        address=f"{url.hostname}:{url.port}" if url else settings.nats_addresses,
        version=f"{number.major}.{number.minor}.{number.patch}",
        further_servers=sorted(f"{server.hostname}:{server.port}" for server in connection.discovered_servers),
        round_trip_ms=round(seconds * 1000, 1),
    )


async def _in_time(work: Awaitable[T], within_s: float, who: str) -> T:
    """Wait at most `within_s` seconds for `work`, and return its result.

    `who`: what the error message names as too slow, e.g. "JetStream".

    Raises:
        UnreachableError: `work` has taken longer than `within_s` seconds.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=within_s)
        if task.done():
            return task.result()
    finally:
        task.cancel()
    what = f"{who} did not answer within {within_s:.0f} s"
    raise UnreachableError(what, "see whether it is overloaded, then try again")
