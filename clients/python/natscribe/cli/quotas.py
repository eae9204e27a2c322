"""The subcommands `quotas list`, `set` and `delete`, for operators."""

from typing import Annotated

import typer

from natscribe.cli.console import out, require, run_with_client
from natscribe.cli.options import parse_user_id
from natscribe.cli.tables import Column, print_messages
from natscribe.client import Client, ClientError, command
from natscribe.schemas.quotas import UserQuota

Json = Annotated[bool, typer.Option("--json", help="One JSON object per line: the UserQuota objects.")]
User = Annotated[str, typer.Argument(metavar="USER", help="The user id of tasks: an integer or any name.")]
Weight = Annotated[float | None, typer.Option(help="Share of the workers while others wait: 0.001 to 1000; others: 1.")]
MaxRunning = Annotated[int | None, typer.Option(help="How many tasks of the user may run at once; 0: any number.")]
MaxWaiting = Annotated[int | None, typer.Option(help="How many tasks of the user may wait; 0: any number.")]

quotas = typer.Typer(no_args_is_help=True, help="List, set or delete what single users may use.")


@quotas.command("list")
def show(*, as_json: Json = False) -> None:
    """List the users who have a quota of their own."""

    async def work(client: Client) -> None:
        none = "No user has a quota of its own: the settings of the service apply to all."
        await print_messages(client.quotas(), _COLUMNS, _row, as_json=as_json, none=none)

    run_with_client(work)


@quotas.command("set")
def set_(user: User, *, weight: Weight = None, max_running: MaxRunning = None, max_waiting: MaxWaiting = None) -> None:
    """Set what a user may use. What is left out is as for all others, also if it was set before."""
    limits = weight, max_running, max_waiting
    require(any(limit is not None for limit in limits), "give --weight, --max-running or --max-waiting")

    async def work(client: Client) -> None:
        share = 1.0 if weight is None else weight
        await client.set_quota(parse_user_id(user), weight=share, max_running=max_running, max_waiting=max_waiting)
        out.print(f"set: {user}")

    run_with_client(work)


@quotas.command()
def delete(user: User) -> None:
    """Delete the quota of a user: the settings apply again."""

    async def work(client: Client) -> None:
        if not await client.delete_quota(parse_user_id(user)):
            what = f"The user {user} has no quota"
            raise ClientError(what, f"`{command()} quotas list` shows who has one")
        out.print(f"deleted: {user}")

    run_with_client(work)


_COLUMNS = (
    Column("user", folds=True),
    Column("weight", right=True),
    Column("max running", right=True),
    Column("max waiting", right=True),
    Column("problem", folds=True),
)


def _row(entry: UserQuota) -> list[str]:
    user = str(entry.key if entry.user_id is None else entry.user_id)
    if entry.quota is None:
        return [user, "", "", "", f"not valid: {entry.problem}"]
    limits = [_limit(number) for number in (entry.quota.max_running, entry.quota.max_waiting)]
    return [user, f"{entry.quota.weight:g}", *limits, ""]


def _limit(number: int | None) -> str:
    return "" if number is None else str(number) if number else "no limit"
