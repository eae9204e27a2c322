"""The commands `voices enroll`, `list`, `rename` and `forget`."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from natscribe.cli.console import err, open_client, out, run_and_exit
from natscribe.cli.follow import follow
from natscribe.cli.show import choose_display
from natscribe.cli.tables import Column, Row, print_table
from natscribe.cli.users import parse_user_id
from natscribe.cli.wording import clock, to_the_minute
from natscribe.client import Client, ClientError, RequestFailedError, command
from natscribe.client.submission import make
from natscribe.schemas.voices import Consent, Voice

User = Annotated[str, typer.Option("--user-id", "--user", help="Whose voices: an integer or any name.", metavar="ID")]
VoiceIdArgument = Annotated[str, typer.Argument(metavar="VOICE", help="The id that `voices list` shows, or the name.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line: the Voice messages.")]

voices = typer.Typer(no_args_is_help=True, help="Say who people are: later transcripts name them.")


@voices.command()
def enroll(  # noqa: PLR0913 -- the request's fields
    recording: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="This person alone, for 15 s and more. A diarization task hears it, and is deleted in an hour.",
        ),
    ] = None,
    *,
    name: Annotated[str | None, typer.Option(help="Name of the person, as transcripts show it.")] = None,
    voice: Annotated[
        str | None,
        typer.Option("--voice", metavar="VOICE", help="Without --name: a known voice that gets one more reference."),
    ] = None,
    task_id: Annotated[str | None, typer.Option(help="Without FILE: a completed task in which they speak.")] = None,
    speaker: Annotated[str | None, typer.Option(help="Who of the task, as SPEAKER_00.", show_default=False)] = None,
    consent_by: Annotated[str, typer.Option(help="Who has agreed to it: the person, or who may do so for them.")],
    consent_at: Annotated[
        datetime | None, typer.Option(help="When they agreed, in your time zone; now, if left out.")
    ] = None,
    another: Annotated[
        bool, typer.Option("--another", help="They are somebody else than the known voice that sounds the same.")
    ] = False,
    user: User = "0",
) -> None:
    """Say who somebody is: the only person of FILE, or a speaker of a task. They have to speak 15 s alone."""
    if (recording is None) == (task_id is None):
        message = "give either FILE or --task-id"
        raise typer.BadParameter(message)

    async def work() -> int:
        at = consent_at.astimezone() if consent_at else datetime.now(timezone.utc)
        consent = make(Consent, {"by": consent_by, "at": at})
        async with open_client() as client:
            owner = parse_user_id(user)
            known_voice = voice and await _voice(client, voice, owner)
            source = task_id or await _heard(client, recording or Path(), owner)
            try:
                known = await client.enroll_voice(
                    source, speaker, name=name, voice=known_voice, consent=consent, another=another, user_id=owner
                )
            except RequestFailedError as error:
                await _refuse_known(client, error, owner)
                raise
        out.print(f"{known.voice} {known.name}")
        kept = "" if task_id is None else f"{task_id} keeps its labels. "
        err.print(f"{kept}`{command()} transcribe --diarize --identify FILE` names {known.name} from now on.")
        return 0

    run_and_exit(work())


async def _heard(client: Client, recording: Path, owner: int | str) -> str:
    """Diarize a recording, and return the id of the task, which the service erases an hour after its end.

    Raises:
        typer.Exit: The task was not completed; the display has said so.
    """
    task_id = await client.create_diarization_task(recording, user_id=owner, keep_seconds=3600, identify=True)
    with choose_display(as_json=False) as display:
        display.begin(recording.name, task_id)
        if not await follow(client, display, task_id, recording.name):
            raise typer.Exit(1)
    return task_id


async def _voice(client: Client, named: str, owner: int | str) -> str:
    """Return the id of the only voice that has this id or name.

    Raises:
        ClientError: No voice is called so, or several are.
    """
    found = [each.voice async for each in client.voices(owner) if named in {each.voice, each.name}]
    if len(found) != 1:
        how_many = f"{len(found)} voices are" if found else "No voice is"
        message = f"{how_many} called {named}: `{command()} voices list` shows the ids."
        raise ClientError(message)
    return found[0]


async def _refuse_known(client: Client, refused: RequestFailedError, owner: int | str) -> None:
    """Raise a ClientError that names options, if an enrolment failed because a known voice sounds the same."""
    async for each in client.voices(owner):
        if each.voice in refused.message:
            message = (
                f"This sounds like {each.name}: --voice {each.voice} in place of --name gives this voice one more "
                "reference; --another enrols somebody else."
            )
            raise ClientError(message) from refused


@voices.command("list")
def show(*, user: User = "0", as_json: Json = False) -> None:
    """List the voices of a user."""

    async def work() -> int:
        async with open_client() as client:
            found = [voice async for voice in client.voices(parse_user_id(user))]
        if as_json:
            for voice in found:
                out.print(voice.model_dump_json())
        elif found:
            print_table(out, _COLUMNS, [_row(voice) for voice in found])
        else:
            err.print("This user has no voices.")
        return 0

    run_and_exit(work())


@voices.command()
def rename(
    voice: VoiceIdArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")],
    *,
    user: User = "0",
) -> None:
    """Give a voice another name; transcripts show it from now on."""

    async def work() -> int:
        async with open_client() as client:
            owner = parse_user_id(user)
            known = await client.rename_voice(await _voice(client, voice, owner), name, user_id=owner)
        out.print(f"{known.voice} {known.name}")
        return 0

    run_and_exit(work())


@voices.command()
def forget(voice: VoiceIdArgument, *, user: User = "0") -> None:
    """Forget a voice: its name, its consent, and what its speech was compared with."""

    async def work() -> int:
        async with open_client() as client:
            owner = parse_user_id(user)
            found = await _voice(client, voice, owner)
            await client.forget_voice(found, user_id=owner)
        out.print(f"forgotten: {found}")
        return 0

    run_and_exit(work())


_COLUMNS = (
    Column("name", most=24),
    Column("heard", right=True, named=True),
    Column("consent", named=True),
    Column("voice"),
)


def _row(voice: Voice) -> Row:
    heard = clock(sum(reference.seconds for reference in voice.references))
    note = "" if voice.comparable else "made by another network: not compared, enrol this person again"
    return Row([voice.name, heard, to_the_minute(voice.consent.at), voice.voice], note)
