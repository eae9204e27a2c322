"""Assembles the subcommands of `natscribe`."""

import os
from collections.abc import Callable, Sequence
from functools import wraps
from importlib.metadata import entry_points, version
from inspect import Parameter, signature
from pkgutil import resolve_name
from typing import Annotated

import typer

_OF_CLIENT = {
    "transcribe": "natscribe.cli.submit:transcribe",
    "diarize": "natscribe.cli.submit:diarize",
    "live": "natscribe.cli.live:live",
    "watch": "natscribe.cli.task:watch",
    "status": "natscribe.cli.task:status",
    "result": "natscribe.cli.result:result",
    "cancel": "natscribe.cli.task:cancel",
    "delete": "natscribe.cli.task:delete",
    "queue": "natscribe.cli.operate:queue",
    "mock": "natscribe.cli.mock:mock",
    "mcp": "natscribe.cli.mcp:mcp",
    "doctor": "natscribe.cli.doctor:doctor",
    "top": "natscribe.cli.top:top",
    "list": "natscribe.cli.listing:list_tasks",
    "dead-letters": "natscribe.cli.operate:dead_letters",
    "redact": "natscribe.cli.redact:redact",
    "voices": "natscribe.cli.voices:voices",
    "quotas": "natscribe.cli.quotas:quotas",
}
_OF_SERVICE = ("up", "demo")  # in another package, which may be missing
_SERVICE = "pip install ./clients/python ."  # how to install that package


def command_line(arguments: Sequence[str] = ()) -> typer.Typer:
    """Return the console command `natscribe`, with only the subcommands that this command line needs.

    `arguments`: the words after `natscribe` in the command line. If the first one names a subcommand, no module of
    another subcommand is imported, which saves a fifth of the start time. Otherwise, e.g. for the help, all are.
    """
    cli = typer.Typer(
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Speech-to-text and speaker diarization over NATS.",
    )
    cli.callback()(_options)
    for name in _chosen(arguments):
        command = _of_service(name) if name in _OF_SERVICE else resolve_name(_OF_CLIENT[name])
        if isinstance(command, typer.Typer):
            for subcommand in command.registered_commands:
                if subcommand.callback is not None:
                    subcommand.callback = _with_server(subcommand.callback)
            cli.add_typer(command, name=name)
        else:
            cli.command(name)(command if name == "demo" else _with_server(command))  # `demo` starts servers of its own
    return cli


def _choose_server(server: str | None) -> None:
    if server is not None:
        os.environ["NATS_URL"] = server  # which has precedence over .env, also in a worker that `up` starts


_SERVER = Parameter(
    "server",
    Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Addresses of the NATS servers, separated by commas, in place of NATS_URL.",
            callback=_choose_server,
            is_eager=True,
        ),
    ],
)


def _with_server(command: Callable[..., None]) -> Callable[..., None]:
    """Return a subcommand that has the option --server, too; a group's has it already if this is called again."""
    declared = signature(command, eval_str=True)
    if _SERVER.name in declared.parameters:
        return command

    @wraps(command)
    def run(*, server: str | None, **options: object) -> None:
        del server  # its callback has chosen it
        command(**options)

    parameters = [*declared.parameters.values(), _SERVER]
    run.__signature__ = declared.replace(parameters=parameters)  # type: ignore[attr-defined]  # inspect reads it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _chosen(arguments: Sequence[str]) -> Sequence[str]:
    """Return the names of the subcommands to import.

    If the first argument names a subcommand, only this one is imported. `--version` needs none. Otherwise, all are
    imported, because the help lists them.
    """
    first = arguments[0] if arguments else ""
    if first in _OF_CLIENT or first in _OF_SERVICE:
        return (first,)
    return () if list(arguments) == ["--version"] else (*_OF_SERVICE, *_OF_CLIENT)


def _print_version(requested: bool) -> None:  # noqa: FBT001 -- typer calls it
    if requested:
        typer.echo(f"natscribe {version('natscribe')}")
        raise typer.Exit


def _options(
    *,
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Define the options of `natscribe` itself, as opposed to those of its subcommands."""


def _of_service(name: str) -> Callable[..., None]:
    """Return the subcommand `name` from the package of the service, which may not be installed.

    Without that package, return a command that says how to install it.
    """
    for entry_point in entry_points(group="natscribe.commands", name=name):
        command: Callable[..., None] = entry_point.load()
        return command

    def missing() -> None:
        from natscribe.cli.console import ERROR, err  # noqa: PLC0415 -- `--version` starts sooner without it

        err.print(f"`natscribe {name}` runs the service itself, install it in a checkout: {_SERVICE}", style=ERROR)
        raise typer.Exit(1)

    missing.__doc__ = f"Run the service; needs its package (`{_SERVICE}`)."
    return missing
