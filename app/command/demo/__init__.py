"""The command `demo`: transcribes a recording with speakers, and shows other ways to use the service."""

import asyncio
import tempfile
from pathlib import Path
from typing import NoReturn

from natscribe.cli.bars import choose_display
from natscribe.cli.console import err, out, run_and_exit
from natscribe.cli.display import ShownText
from natscribe.cli.exit_codes import INTERRUPTED
from natscribe.cli.follow import follow
from natscribe.cli.turns import turns_table
from natscribe.client import Client, ClientError, command
from natscribe.client.command import command_in_another_terminal
from natscribe.schemas import subjects
from natscribe.schemas.transcription import TranscriptionResult

from app.command.embedded import EmbeddedError, free_port
from app.command.service import LocalService, on_stop_signal, run_service
from app.settings import Settings

_READY_WITHIN_S = 120.0  # the servers start and the worker loads its model within this time
LAST_LINES = 5  # lines of the worker's log that are shown if the worker does not start


def run(recording: Path, *, keep: bool) -> NoReturn:
    """Run the command `demo` and exit the process; `keep`: leave the servers running until Ctrl-C."""
    run_and_exit(run_until_interrupted(recording, keep=keep), expected=(ClientError, EmbeddedError))


async def run_until_interrupted(recording: Path, *, keep: bool) -> int:
    """Run the demo until it ends or a stop signal arrives; return the exit code."""
    work = asyncio.create_task(_run(recording, keep=keep))
    on_stop_signal(lambda: work.cancelling() or work.cancel())  # once, so that the servers stop in order
    try:
        return await work
    except asyncio.CancelledError:
        return INTERRUPTED


async def _run(recording: Path, *, keep: bool) -> int:
    with tempfile.TemporaryDirectory(prefix="natscribe-") as folder:
        log = Path(folder) / "worker.log"
        err.print("starting NATS, Valkey and a worker ...")
        with log.open("wb") as output:
            # A port of its own, as several demos may start in the same second and then choose the same default port.
            async with run_service(Path(folder), port=free_port(), output=output, embed_all=True) as running:
                await _until_ready(running, log)
                task_id = await _transcribe(running, recording)
                if task_id is None:
                    return 1
                _print_next_steps(running, task_id, keep=keep)
                if keep:
                    await asyncio.Event().wait()  # Ctrl-C ends it
                return 0


async def _until_ready(running: LocalService, log: Path) -> None:
    try:
        async with asyncio.timeout(_READY_WITHIN_S):
            ready = await running.wait_until_ready()
    except TimeoutError:
        ready = False
    if not ready:
        raise ClientError(_last_lines(log))


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if '"level": "error"' in line or '"level": "critical"' in line]
    return "\n".join(["The worker did not start; its last lines say why:", *(errors or lines)[-LAST_LINES:]])


async def _transcribe(running: LocalService, recording: Path) -> str | None:
    """Submit a recording, show the progress, print the result; return the task id, or None if the task failed."""
    settings = Settings(nats_url=running.servers["NATS_URL"], redis_url=running.servers["REDIS_URL"])
    async with Client(settings) as client:
        task_id = await client.create_transcription_task(recording, diarize=True)
        with choose_display(as_json=False, shown=ShownText.LAST_SEGMENT) as display:
            if not await follow(client, display, task_id, recording.name):
                return None
        result = await client.get_task_result(task_id)
    if isinstance(result, TranscriptionResult):
        out.print(turns_table(result), soft_wrap=False)
    return task_id


def _print_next_steps(running: LocalService, task_id: str, *, keep: bool) -> None:
    here, there = command(), command_in_another_terminal(in_this_folder=True)
    if not keep:
        out.print(f"""
Your own recordings: `{here} up`, and in another terminal in this folder `{there} transcribe --diarize FILE`.
To read this result in other ways (as subtitles, in Redis, as messages), run `{here} demo --keep`.
""")
        return
    there = f"NATS_URL={running.servers['NATS_URL']} {command_in_another_terminal(in_this_folder=False)}"
    out.print(f"""
The same result, in another terminal:
  watch   {there} watch {task_id}
          or subscribe to {subjects.progress(task_id)} and {subjects.segments(task_id)}
  fetch   {there} result {task_id} --format srt
          or request {subjects.RESULT} with {{"task_id": "{task_id}", "format": "srt"}}
          or read the key task:{task_id}:result in Redis ({running.servers["REDIS_URL"]})
  read    {running.docs} or asyncapi.yaml: all subjects and messages

Ctrl-C stops the servers.""")
