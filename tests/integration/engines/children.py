"""Engine processes as tests use them: their replies, their failures, and the child itself."""

from contextlib import aclosing

import psutil
import pytest

from app.engines.messages import Job, Reply
from app.engines.process.child_process import EngineProcess
from app.engines.process.engine_processes import EngineProcesses
from app.runtime.errors import TaskError


async def replies(engine: EngineProcess | EngineProcesses, job: Job) -> list[Reply]:
    async with aclosing(engine.run(job)) as run:
        return [reply async for reply in run]


async def failure(engine: EngineProcess | EngineProcesses, job: Job) -> TaskError:
    with pytest.raises(TaskError) as caught:
        await replies(engine, job)
    return caught.value


def children(pid: int | None = None) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if "app.engines.process.child_main" in child.cmdline()]


def the_child(pid: int | None = None) -> psutil.Process:
    (child,) = children(pid)
    return child


async def gone(child: psutil.Process) -> bool:
    return not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
