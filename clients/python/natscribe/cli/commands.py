"""The subcommands of `natscribe`."""

from collections.abc import Callable
from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from natscribe.cli import listing, mock, operate, submit, task
from natscribe.cli.console import ERROR, err
from natscribe.cli.doctor import doctor
from natscribe.cli.top import top


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


def _of_service(name: str) -> Callable[..., None]:
    """Return a command of the service's package, or else one that says how to install that package."""
    for found in entry_points(group="natscribe.commands", name=name):
        command: Callable[..., None] = found.load()
        return command

    def missing() -> None:
        err.print(f"`natscribe {name}` runs the service itself: pip install natscribe-service", style=ERROR)
        raise typer.Exit(1)

    missing.__doc__ = "Needs the service: pip install natscribe-service."
    return missing


for name in ("up", "demo"):
    cli.command(name)(_of_service(name))
for command in (
    submit.transcribe,
    submit.diarize,
    task.watch,
    task.status,
    task.result,
    task.cancel,
    task.delete,
    operate.queue,
    mock.mock,
    doctor,
    top,
):
    cli.command()(command)
cli.command("list")(listing.list_tasks)
cli.add_typer(operate.dead_letters, name="dead-letters")
