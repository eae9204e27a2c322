"""The subcommand `top`: a dashboard of the task queues, the running tasks and the failures, which is redrawn."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing

from rich.live import Live

from natscribe.cli.console import Terminal, out, read_settings, require, run_and_exit
from natscribe.cli.top.dashboard import MAX_FAILURES, Dashboard
from natscribe.cli.top.keys import keys
from natscribe.cli.top.layout import render
from natscribe.client import Client, ClientError, NotAllowedError, command
from natscribe.schemas.progress import State
from natscribe.schemas.task_list import MAX_LISTED_TASKS

REDRAW_EVERY_S = 0.5  # also without events: the times on the screen advance
QUEUE_EVERY_S = 2.0
CANCEL_AGAIN_AFTER_S = 0.05
LIST_EVERY_S = 10.0


def top() -> None:
    """Show waiting, running and failed tasks, live. The key q quits."""
    once = f"`{command()} queue`, `list --state running` and `list --state failed` print the same once"
    require(out.is_terminal and not out.is_dumb_terminal, f"this needs a terminal: {once}")
    run_and_exit(_run())


async def _run() -> int:
    settings, dashboard = read_settings(), Dashboard()

    def note_outage(away: bool) -> None:  # noqa: FBT001 -- the only argument of the callback
        dashboard.problems.pop("nats", None)
        if away:
            dashboard.problems["nats"] = "NATS is unavailable, waiting ..."

    await _watch(Client(settings, on_outage=note_outage), dashboard, settings.nats_addresses)
    return 0


async def _watch(client: Client, dashboard: Dashboard, address: str) -> None:
    """Connect to NATS, and show the dashboard until the key q is pressed or the terminal is closed.

    The key q also ends the wait for a connection. `address`: the address of NATS, for the heading.
    """
    quit_pressed = asyncio.Event()

    def pressed(text: str) -> None:
        if not text or "q" in text.lower():
            quit_pressed.set()

    with keys(pressed):
        async with AsyncExitStack() as closing:
            await _until_first(quit_pressed.wait(), closing.enter_async_context(client))
            if quit_pressed.is_set():
                return
            live = closing.enter_context(
                Live(console=Terminal(stderr=False, soft_wrap=False), screen=True, auto_refresh=False)
            )
            await _until_first(quit_pressed.wait(), keep_current(client, dashboard), _redraw(live, dashboard, address))


async def keep_current(client: Client, dashboard: Dashboard) -> None:
    """Update the dashboard with the events of all tasks, and with the service's replies, until cancelled."""
    await asyncio.gather(
        _follow_events(client, dashboard),
        _every(QUEUE_EVERY_S, dashboard, "queue", lambda: _update_queue(client, dashboard)),
        _every(LIST_EVERY_S, dashboard, "list", lambda: _update_list(client, dashboard)),
    )


async def _until_first(*works: Awaitable[object]) -> None:
    """Run awaitables concurrently until the first of them ends or fails, and cancel the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        while pending := [task for task in tasks if not task.done()]:
            for task in pending:
                task.cancel()  # repeatedly: nats-py swallows a cancellation while it flushes
            await asyncio.wait(pending, timeout=CANCEL_AGAIN_AFTER_S)


async def _follow_events(client: Client, dashboard: Dashboard) -> None:
    """Update the dashboard with the progress events of all tasks, until cancelled.

    If the user may not receive these events, this is shown as a problem on the dashboard.
    """
    try:
        async with aclosing(client.follow_all()) as events:
            async for event in events:
                dashboard.apply(event, time.monotonic())
    except NotAllowedError as error:
        dashboard.problems["progress"] = str(error)
        await asyncio.Event().wait()


async def _every(seconds: float, dashboard: Dashboard, name: str, request: Callable[[], Awaitable[None]]) -> None:
    """Call `request` again and again, with a pause of `seconds` in between, until cancelled.

    Once NATS does not permit the request, it is not sent again; the function then only waits to be cancelled. `name`:
    the key under which an error is stored in the dashboard's problems.
    """
    while True:
        if not await _update(dashboard, name, request):
            await asyncio.Event().wait()
        await asyncio.sleep(seconds)


async def _update(dashboard: Dashboard, name: str, request: Callable[[], Awaitable[None]]) -> bool:
    """Call `request`, which sends a request to the service; return False if NATS does not permit the user to send it.

    If the request fails, its error is stored as the dashboard's problem `name`; if it succeeds, that problem is
    removed.
    """
    try:
        await request()
    except ClientError as error:
        dashboard.problems[name] = str(error)
        return not isinstance(error, NotAllowedError)
    dashboard.problems.pop(name, None)
    return True


async def _update_queue(client: Client, dashboard: Dashboard) -> None:
    dashboard.queue = await client.queue()


async def _update_list(client: Client, dashboard: Dashboard) -> None:
    requested_at = time.monotonic()
    running = await client.tasks(state=State.RUNNING, limit=MAX_LISTED_TASKS)
    dashboard.reconcile(running, requested_at, time.monotonic())
    if not dashboard.failures:
        dashboard.add_failed(await client.tasks(state=State.FAILED, limit=MAX_FAILURES))


async def _redraw(live: Live, dashboard: Dashboard, address: str) -> None:
    while True:
        size, now = live.console.size, time.monotonic()
        picture = render(dashboard, f"{address}, q quits", width=size.width, height=size.height, now=now)
        live.update(picture, refresh=True)
        await asyncio.sleep(REDRAW_EVERY_S)
