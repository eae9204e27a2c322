"""The queues that one could take instead: how each is started, and how its finished tasks are counted."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nats.js.errors import NotFoundError
from redis.asyncio import Redis

from benchmarks.stack import ROOT, Stack

NEW_REDIS, OLD_REDIS = ROOT / ".venv-peers-redis8", ROOT / ".venv-peers-redis5"  # no version suits all of them
MANY = 10_000


@dataclass(frozen=True)
class Shape:
    """How many processes work, and how many tasks each has at once."""

    processes: int
    at_once: int


@dataclass(frozen=True)
class Peer:
    """A queue: the command that starts its workers, given a shape; and how many of so many tasks have ended."""

    name: str
    module: str
    home: Path
    usual: int  # tasks at once in a process, where nothing else is said
    worker: Callable[[str, Shape], Sequence[str]]
    ended: Callable[[Stack, int], Awaitable[int]]
    promise: str
    results_in_redis: bool = True
    tells_progress: bool = False
    one_process_a_command: bool = False

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.home / "bin/python")

    def command(self, shape: Shape) -> list[str]:
        """What starts its workers."""
        program, *arguments = self.worker(self.module, shape)
        return [str(self.home / "bin" / program), *arguments]

    def environment(self, stack: Stack, shape: Shape) -> dict[str, str]:
        """What its module reads."""
        results = {"RESULTS_URL": results_url(stack)} if self.results_in_redis else {}
        progress = {"TELL_PROGRESS": "1"} if self.tells_progress else {}
        return results | progress | {"AT_ONCE": str(shape.at_once)}


def installed(home: Path) -> bool:
    """Whether what lives there can be run."""
    return (home / ".ready").exists()


def results_url(stack: Stack) -> str:
    """A database of Redis for results alone, so that counting its keys counts results."""
    return stack.redis_url.removesuffix("/0") + "/1"


async def _in_object_store(stack: Stack, _: int, *, objects: int = 1) -> int:
    with suppress(NotFoundError):
        info = await stack.nats.jetstream().stream_info("OBJ_taskiq_results")
        return info.state.messages // (2 * objects)  # what is in each, and its name
    return 0


async def _in_database(stack: Stack, _: int) -> int:
    async with Redis.from_url(results_url(stack)) as results:
        return int(await results.dbsize())


async def _in_arq(stack: Stack, _: int) -> int:
    return sum([1 async for _ in stack.redis.scan_iter("arq:result:*", count=MANY)])


async def _in_saq(stack: Stack, published: int) -> int:
    return published - int(await stack.redis.zcard("saq:default:incomplete"))


def _taskiq(module: str, shape: Shape) -> list[str]:
    tasks = f"--max-async-tasks={shape.at_once}"
    return ["taskiq", "worker", f"{module}:broker", f"--workers={shape.processes}", tasks, "--log-level=WARNING"]


PEERS = (
    Peer(
        "Taskiq + taskiq-nats, results in NATS",
        "benchmarks.peers.taskiq_worker",
        NEW_REDIS,
        100,
        _taskiq,
        _in_object_store,
        "pull broker, acknowledged when the result is saved (its default); NATSObjectStoreResultBackend",
        results_in_redis=False,
    ),
    Peer(
        "Taskiq + taskiq-nats, progress and results in NATS",
        "benchmarks.peers.taskiq_worker",
        NEW_REDIS,
        100,
        _taskiq,
        partial(_in_object_store, objects=2),
        "the same; each task tells that it began and that it ended by Taskiq's `ProgressTracker`",
        results_in_redis=False,
        tells_progress=True,
    ),
    Peer(
        "Taskiq + taskiq-nats, results in Redis",
        "benchmarks.peers.taskiq_worker",
        NEW_REDIS,
        100,
        _taskiq,
        _in_database,
        "the same broker; taskiq-redis keeps results for an hour",
    ),
    Peer(
        "Celery",
        "benchmarks.peers.celery_worker",
        NEW_REDIS,
        1,
        lambda module, shape: ["celery", "-A", module, "worker", "-c", str(shape.processes), "--loglevel=WARNING"],
        _in_database,
        "Redis broker and backend; `task_acks_late`, `task_reject_on_worker_lost`; a process has one task at once",
    ),
    Peer(
        "Dramatiq",
        "benchmarks.peers.dramatiq_worker",
        NEW_REDIS,
        8,
        lambda module, shape: ["dramatiq", module, "-p", str(shape.processes), "-t", str(shape.at_once)],
        _in_database,
        "Redis broker, results middleware (ten minutes); acknowledges late by itself",
    ),
    Peer(
        "arq",
        "benchmarks.peers.arq_worker",
        OLD_REDIS,
        10,
        lambda module, _: ["arq", f"{module}.WorkerSettings"],
        _in_arq,
        "keeps results for an hour by itself; looks for tasks twice a second",
        one_process_a_command=True,
    ),
    Peer(
        "SAQ",
        "benchmarks.peers.saq_worker",
        OLD_REDIS,
        10,
        lambda module, shape: ["saq", f"{module}.settings", "--workers", str(shape.processes)],
        _in_saq,
        "keeps results for ten minutes by itself",
    ),
)
