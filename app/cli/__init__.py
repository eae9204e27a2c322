"""The console command `natscribe`, for people; programs speak NATS or use `app.client`."""

import typer

from app.cli import operate, submit, task
from app.cli.demo import demo
from app.cli.up import up

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Turns recordings into text that says who spoke, over NATS.",
)
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


def main() -> None:
    """Run the command that the arguments name."""
    cli()
