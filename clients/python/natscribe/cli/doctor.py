"""The command `doctor`: shows what a client finds, what is wrong, and what to do."""

from collections.abc import Iterator
from itertools import groupby
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from natscribe.cli.console import out, read_settings, run_and_exit
from natscribe.cli.wording import clock, printable, seconds_until
from natscribe.client.examination import Examination, examine
from natscribe.schemas.workers import WorkerInfo

Json = Annotated[bool, typer.Option("--json", help="Everything that was found, as one line of JSON.")]


def doctor(*, as_json: Json = False) -> None:
    """Check NATS, workers, your rights and versions. Exit code 1: something is wrong."""

    async def work() -> int:
        found = await examine(read_settings())
        out.print(found.model_dump_json()) if as_json else _show(found)
        return 0 if found.ok else 1

    run_and_exit(work())


def _show(found: Examination) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for topic, said in _lines(found):
        table.add_row(topic, printable(said))
    out.print(table, soft_wrap=False)
    for problem in found.problems:
        out.print()
        out.print(Text.assemble(("Wrong: ", "bold red"), printable(f"{problem.what}.")))
        out.print(Text.assemble(("Next:  ", "bold"), printable(f"{problem.next_step}.")))
    if found.ok:
        out.print("\nAll is well.", style="green")


def _lines(found: Examination) -> Iterator[tuple[str, str]]:
    yield "NATS", _nats(found)
    yield "user", f"{found.user or 'none'}, replies under {found.inbox_prefix}"
    if found.task_stream is not None:
        yield "JetStream", f"on, tasks are in the stream {found.task_stream}"
    yield "client", f"version {found.client_version}, recordings in {found.audio_store}"
    for number, worker in enumerate(found.workers):
        yield ("workers" if not number else ""), _worker(worker)
    allowed = [right.command for right in found.rights if right.allowed]
    if allowed:
        yield "may", ", ".join(allowed)
    refused = [right for right in found.rights if not right.allowed]
    for users, rights in groupby(sorted(refused, key=lambda right: right.users), key=lambda right: right.users):
        yield "may not", f"{', '.join(right.command for right in rights)}: that is for {' or '.join(users)}"


def _nats(found: Examination) -> str:
    server = found.server
    if server is None:
        return found.nats_url
    further = f", in a cluster with {', '.join(server.further_servers)}" if server.further_servers else ""
    return f"{server.address}, version {server.version}, round trip {server.round_trip_ms} ms{further}"


def _worker(worker: WorkerInfo) -> str:
    model = f"{worker.model.name} ({worker.engine})" if worker.model is not None else "no model"
    work = "idle" if worker.idle else "busy"
    redis = "Redis answers" if worker.redis_answers else "Redis does not answer"
    store = "" if worker.audio_store_answers else " does not answer"
    since = clock(-seconds_until(worker.started_at))
    return (
        f"{worker.worker}: version {worker.version}, {model}, {work}, up {since}, {redis}, {worker.audio_store}{store}"
    )
