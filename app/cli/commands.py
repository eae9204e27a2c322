"""The subcommands of `natscribe`."""

from importlib.metadata import version
from typing import Annotated

import typer

from app.cli import operate, submit, task
from app.cli.demo import demo
from app.cli.up import up


def _print_version(wanted: bool) -> None:  # noqa: FBT001 -- typer calls it
    if wanted:
        typer.echo(f"natscribe {version('natscribe')}")
        raise typer.Exit


cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turns recordings into text that says who spoke, over NATS.",
)


@cli.callback()
def _options(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Define the options of `natscribe` itself."""


for command in (
    up,
    demo,
    submit.transcribe,
    submit.diarize,
    task.watch,
    task.status,
    task.result,
    task.cancel,
    task.delete,
    operate.queue,
):
    cli.command()(command)
cli.add_typer(operate.dead_letters, name="dead-letters")
