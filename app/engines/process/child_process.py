"""The worker's side of an engine process: sends jobs, receives replies, and kills the process to stop a job."""

import asyncio
import os
import signal
import sys
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from typing import Any

import structlog
from natscribe.schemas.errors import ErrorCode
from structlog.contextvars import get_contextvars

import app
from app.engines.audio.limits import too_slow
from app.engines.messages import LAST_REPLIES, REPLY, Failed, Job, Loaded, Reply, Setup
from app.runtime.errors import PermanentError, TransientError
from app.settings import Settings

_LONGEST_LINE_BYTES = 256 * 1024 * 1024  # the longest reply: the turns of a recording of many hours are one line
_LONGEST_LOG = 2000  # characters of one line of stderr that are logged
_LEFT_OVER_BYTES = 1024 * 1024  # read at once from the output of a killed process
_PROGRAM = (sys.executable, "-m", "app.engines.process.child_main")
# glibc's malloc maps blocks of more than 32 MiB from the kernel each time, which clears every page of them. A
# network needs such a block in each layer of its encoder. With one arena and these limits (bytes), glibc keeps and
# reuses the memory: encoding takes a fifth to a third less time. Other C libraries ignore the variables.
_RETAINED = str(256 * 1024 * 1024)
_MALLOC = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": _RETAINED, "MALLOC_TRIM_THRESHOLD_": _RETAINED}

log = structlog.get_logger(__name__)


class EngineProcess:
    """Runs jobs in a child process, one at a time; starts it for the first job, and again if it has died.

    `longest_line`: the largest size of a reply, in bytes. About twice as many bytes of replies are buffered; then the
    child has to wait until the caller reads some of them.
    """

    def __init__(
        self, settings: Settings, *, longest_line: int = _LONGEST_LINE_BYTES, program: Sequence[str] = _PROGRAM
    ) -> None:
        self._settings = settings
        self._program = program
        self._longest_line = longest_line
        self._child: _Child | None = None
        self._loaded: Loaded | None = None
        self._free = asyncio.Lock()

    @property
    def running(self) -> bool:
        """Whether the child process is alive."""
        return self._child is not None and self._child.alive

    @property
    def loaded(self) -> Loaded | None:
        """The transcription model that is loaded in the child process; None if there is none."""
        return self._loaded if self.running else None

    async def run(self, job: Job) -> AsyncGenerator[Reply, None]:
        """Run a job and yield its replies; closing the generator before the last reply kills the child at once.

        Raises:
            PermanentError: The job cannot be done; audio_too_large if the kernel has ended the child because reading
                the recording took too much CPU time.
            TransientError: The job failed, but another attempt may succeed; engine_failed if the child has died.
        """
        async with self._free:
            finished = False
            try:
                child = await self._started()
                child.log_context = get_contextvars()  # the child's log lines name the task of this job
                await child.send(job)
                while not finished:
                    reply = await child.receive()
                    finished = isinstance(reply, LAST_REPLIES)
                    if isinstance(reply, Loaded):
                        self._loaded = reply
                    if isinstance(reply, Failed):
                        kind = TransientError if reply.transient else PermanentError
                        raise kind(reply.error.code, reply.error.message)
                    yield reply
            finally:
                if not finished:
                    await self.close()

    async def _started(self) -> "_Child":
        if self._child is None or not self._child.alive:
            await self.close()
            self._child = await _Child.start(self._program, self._settings, self._longest_line)
            await self._child.send(Setup.model_validate(self._settings, from_attributes=True))
        return self._child

    async def close(self) -> None:
        """Kill the child process, even in the middle of a job; a later job would start another one."""
        child, self._child, self._loaded = self._child, None, None
        if child is not None:
            await child.kill()


class _Child:
    """A running child process with its pipes, from its start until it is killed."""

    def __init__(self, process: Process, settings: Settings) -> None:
        if process.stdin is None or process.stdout is None or process.stderr is None:
            message = "the engine process was started without pipes"
            raise RuntimeError(message)
        self._process = process
        self._settings = settings
        self._stdin, self._stdout = process.stdin, process.stdout
        self.log_context: dict[str, Any] = {}  # structlog's own type
        # An empty context: the child and its log outlive the task that started the child.
        self._logs = asyncio.create_task(self._forward(process.stderr), context=Context())

    @classmethod
    async def start(cls, program: Sequence[str], settings: Settings, longest_line: int) -> "_Child":
        root = str(Path(app.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = {**_MALLOC, **os.environ} | {
            "PYTHONPATH": path,
            "OMP_NUM_THREADS": str(settings.engine_threads),
            "ORT_DISABLE_TELEMETRY": "1",  # otherwise ONNX Runtime sends usage data to its maker
        }
        process = await asyncio.create_subprocess_exec(
            *program, stdin=PIPE, stdout=PIPE, stderr=PIPE, limit=longest_line, env=environment
        )
        return cls(process, settings)

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def send(self, line: Setup | Job) -> None:
        with suppress(ConnectionError):  # receive() raises the error if the child is dead
            self._stdin.write(line.model_dump_json().encode() + b"\n")
            await self._stdin.drain()

    async def receive(self) -> Reply:
        line = await self._stdout.readline()
        if not line.endswith(b"\n"):
            code = await self._process.wait()
            log.error("engine_died", exit_code=code)
            if code == -signal.SIGXCPU:
                raise too_slow(self._settings.audio_max_decode_seconds)
            message = "The engine process died: if it does so again, give the service more memory."
            raise TransientError(ErrorCode.ENGINE_FAILED, message)
        return REPLY.validate_json(line)

    async def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._stdin.close()
        await asyncio.shield(self._reaped())

    async def _forward(self, stderr: StreamReader) -> None:
        """Log what the child process writes to stderr, which never contains text of a recording."""
        async for line in stderr:
            text = line.decode(errors="replace").strip()[:_LONGEST_LOG]
            if text:
                log.warning("engine_wrote", text=text, **self.log_context)

    async def _reaped(self) -> None:
        # asyncio reports the end of a process only after all its output is read.
        with suppress(RuntimeError):  # the job that still runs reads the output itself
            while await self._stdout.read(_LEFT_OVER_BYTES):
                pass
        await self._process.wait()
        await self._logs
        with suppress(ConnectionError):
            await self._stdin.wait_closed()
