"""The command `top`: shows the queue, the running tasks and the failures, as they change."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

from rich.console import Console
from rich.live import Live

from natscribe.cli.console import WARNING, err, out, read_settings, run_and_exit
from natscribe.cli.top.dashboard import MOST_FAILURES, Dashboard
from natscribe.cli.top.keys import keys
from natscribe.cli.top.layout import render
from natscribe.cli.top.snapshot import print_snapshot
from natscribe.client import Client, ClientError, NotAllowedError
from natscribe.schemas.progress import State
from natscribe.schemas.task_list import MOST_LISTED

REDRAW_EVERY_S = 0.25
REDRAW_UNCHANGED_EVERY_S = 1.0  # the times on the screen count on
QUEUE_EVERY_S = 2.0
CANCEL_AGAIN_AFTER_S = 0.05
LIST_EVERY_S = 10.0
COLLECT_EVENTS_S = 1.0  # how long events are gathered for a snapshot


def top() -> None:
    """Show what waits, runs and has failed, live. The key q ends it. Without a terminal: one snapshot."""
    run_and_exit(_run())


async def _run() -> int:
    settings, board = read_settings(), Dashboard()

    def note_outage(away: bool) -> None:  # noqa: FBT001 -- the only argument of the callback
        board.troubles.pop("nats", None)
        if away:
            board.troubles["nats"] = "NATS is away, waiting ..."

    client = Client(settings, on_outage=note_outage)
    if out.is_terminal and not out.is_dumb_terminal:
        await _watch(client, board, settings.nats_addresses)
        return 0
    async with client:
        await read_once(client, board)
    print_snapshot(out, board)
    for trouble in dict.fromkeys(board.troubles.values()):
        err.print(trouble, style=WARNING)
    return 1 if board.troubles else 0


async def _watch(client: Client, board: Dashboard, place: str) -> None:
    """Connect, and show the board; end at the key q, also before NATS answers, and when the terminal is gone."""
    quit_pressed = asyncio.Event()

    def pressed(text: str) -> None:
        if not text or "q" in text.lower():
            quit_pressed.set()

    with keys(pressed):
        async with AsyncExitStack() as closing:
            await _until_first(quit_pressed.wait(), closing.enter_async_context(client))
            if quit_pressed.is_set():
                return
            live = closing.enter_context(Live(console=Console(), screen=True, auto_refresh=False))
            await _until_first(
                quit_pressed.wait(),
                _hear(client, board),
                _every(QUEUE_EVERY_S, board, "queue", lambda: _ask_queue(client, board)),
                _every(LIST_EVERY_S, board, "list", lambda: _ask_list(client, board)),
                _redraw(live, board, place),
            )


async def read_once(client: Client, board: Dashboard) -> None:
    """Put the service's answers on the board, and the events of HEARD_FOR_S seconds."""
    hearing = asyncio.create_task(_hear(client, board))
    asked = [
        _ask(board, "queue", lambda: _ask_queue(client, board)),
        _ask(board, "list", lambda: _ask_list(client, board)),
    ]
    try:
        await asyncio.gather(*asked, asyncio.sleep(COLLECT_EVENTS_S))
    finally:
        hearing.cancel()
        await asyncio.wait([hearing])


async def _until_first(*works: Awaitable[object]) -> None:
    """Run all works at the same time; cancel the others when the first work ends or fails."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        while pending := [task for task in tasks if not task.done()]:
            for task in pending:
                task.cancel()  # again and again: nats-py swallows a cancellation while it flushes
            await asyncio.wait(pending, timeout=CANCEL_AGAIN_AFTER_S)


async def _hear(client: Client, board: Dashboard) -> None:
    """Put the events of all tasks on the board; if the user may not receive them, say so and wait."""
    try:
        async with aclosing(client.follow_all()) as events:
            async for event in events:
                board.apply(event, time.monotonic())
    except NotAllowedError as error:
        board.troubles["progress"] = str(error)
        await asyncio.Event().wait()


async def _every(seconds: float, board: Dashboard, name: str, ask: Callable[[], Awaitable[None]]) -> None:
    """Ask the service every `seconds`; wait for ever if the user may not ask."""
    while True:
        if not await _ask(board, name, ask):
            await asyncio.Event().wait()
        await asyncio.sleep(seconds)


async def _ask(board: Dashboard, name: str, ask: Callable[[], Awaitable[None]]) -> bool:
    """Ask the service, and put its error on the board or take an earlier error off.

    Return False if the user may not ask.
    """
    try:
        await ask()
    except ClientError as error:
        board.troubles[name] = str(error)
        return not isinstance(error, NotAllowedError)
    board.troubles.pop(name, None)
    return True


async def _ask_queue(client: Client, board: Dashboard) -> None:
    board.queue = await client.queue()
    board.changed = True


async def _ask_list(client: Client, board: Dashboard) -> None:
    requested_at = time.monotonic()
    running = await client.tasks(state=State.RUNNING, limit=MOST_LISTED)
    board.reconcile(running, requested_at, time.monotonic())
    if not board.failures:
        board.note_failed(await client.tasks(state=State.FAILED, limit=MOST_FAILURES))


async def _redraw(live: Live, board: Dashboard, place: str) -> None:
    drawn_at = 0.0
    while True:
        now = time.monotonic()
        if board.changed or now - drawn_at >= REDRAW_UNCHANGED_EVERY_S:
            board.changed, drawn_at = False, now
            size = live.console.size
            live.update(render(board, f"{place}, q quits", width=size.width, height=size.height, now=now), refresh=True)
        await asyncio.sleep(REDRAW_EVERY_S)
