"""The subcommand `doctor`: shows the connection, the workers and permissions, and for each problem what to do."""

from collections.abc import Iterator
from itertools import groupby
from typing import Annotated

import typer
from rich.text import Text

from natscribe.cli.console import out, read_settings, run_and_exit
from natscribe.cli.tables import print_topics
from natscribe.cli.wording import clock, seconds_since
from natscribe.client.examination import Examination, examine
from natscribe.schemas.workers import WorkerInfo

Json = Annotated[bool, typer.Option("--json", help="The whole examination as one line of JSON.")]


def doctor(*, as_json: Json = False) -> None:
    """Check NATS, workers, permissions and versions. Exit code 1: something is wrong."""

    async def work() -> int:
        examination = await examine(read_settings())
        out.print_data(examination.model_dump_json()) if as_json else _show(examination)
        return 0 if examination.ok else 1

    run_and_exit(work())


def _show(examination: Examination) -> None:
    print_topics(list(_topics(examination)))
    for problem in examination.problems:
        out.print()
        out.print(Text.assemble(("Wrong: ", "bold red"), f"{problem.what}."))
        out.print(Text.assemble(("Next:  ", "bold"), f"{problem.next_step}."))
    if examination.ok:
        out.print("\nAll is well.", style="green")


def _topics(examination: Examination) -> Iterator[tuple[str, str]]:
    yield "NATS", _nats(examination)
    yield "user", f"{examination.user or 'none'}, replies under {examination.inbox_prefix}"
    if examination.task_stream is not None:
        yield "JetStream", f"on, tasks are in the stream {examination.task_stream}"
    yield "client", f"version {examination.client_version}, recordings in {examination.audio_store}"
    for number, worker in enumerate(examination.workers):
        yield ("workers" if not number else ""), _worker(worker)
    yield from _rights(examination)


def _rights(examination: Examination) -> Iterator[tuple[str, str]]:
    allowed = [right.command for right in examination.rights if right.allowed]
    if allowed:
        yield "may", ", ".join(allowed)
    refused = [right for right in examination.rights if not right.allowed]
    for users, rights in groupby(sorted(refused, key=lambda right: right.users), key=lambda right: right.users):
        yield "may not", f"{', '.join(right.command for right in rights)}: that is for {' or '.join(users)}"


def _nats(examination: Examination) -> str:
    server = examination.server
    if server is None:
        return examination.nats_url
    further = f", in a cluster with {', '.join(server.further_servers)}" if server.further_servers else ""
    return f"{server.address}, version {server.version}, round trip {server.round_trip_ms} ms{further}"


def _worker(worker: WorkerInfo) -> str:
    model = f"{worker.model.name} ({worker.engine})" if worker.model is not None else "no model"
    work = "idle" if worker.idle else "busy"
    redis = "Redis replies" if worker.redis_answers else "Redis does not reply"
    store = "" if worker.audio_store_answers else " does not reply"
    since = clock(seconds_since(worker.started_at))
    return (
        f"{worker.worker}: version {worker.version}, {model}, {work}, up {since}, {redis}, {worker.audio_store}{store}"
    )
