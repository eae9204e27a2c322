"""The subcommands `voices enroll`, `list`, `rename` and `forget`, for voices, i.e. enrolled persons."""

from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from natscribe.cli.bars import choose_display
from natscribe.cli.console import err, out, require, run_with_client
from natscribe.cli.follow import follow
from natscribe.cli.options import parse_user_id
from natscribe.cli.tables import Column, print_messages
from natscribe.cli.wording import clock, to_the_minute
from natscribe.client import Client, ClientError, RequestFailedError, command
from natscribe.client.submission import build_message
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.voices import Consent, Voice

User = Annotated[
    str, typer.Option("--user-id", "--user", help="Owner of the voices: an integer or any name.", metavar="ID")
]
VoiceArgument = Annotated[str, typer.Argument(metavar="VOICE", help="The id that `voices list` shows, or the name.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line: the Voice messages.")]
File = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]",
        help="At least 15 s of this person alone; of several, transcribe FILE with --diarize --identify first.",
    ),
]
ConsentTime = Annotated[
    datetime | None,
    typer.Option(metavar="TIME", help="Local time of the consent, as 2026-11-05 or 2026-11-05T14:30:00; default: now."),
]

_PERMANENT = {ErrorCode.INVALID_REQUEST, ErrorCode.NOT_FOUND}  # errors that repeating the request cannot avoid

voices = typer.Typer(no_args_is_help=True, help="Manage the voices that transcripts can name.")


@voices.command()
def enroll(  # noqa: PLR0913 -- the request's fields
    recording: File = None,
    *,
    name: Annotated[str | None, typer.Option(help="Name of the person, as transcripts show it.")] = None,
    voice: Annotated[
        str | None,
        typer.Option("--voice", metavar="VOICE", help="Instead of --name: an enrolled voice that gets a reference."),
    ] = None,
    task_id: Annotated[
        str | None, typer.Option(help="Instead of FILE: a completed task with --diarize --identify.")
    ] = None,
    speaker: Annotated[str | None, typer.Option(help="With --task-id: the speaker in the task, as SPEAKER_00.")] = None,
    consent_by: Annotated[str, typer.Option(help="Who has consented: the person, or who may do so for them.")],
    consent_at: ConsentTime = None,
    another: Annotated[
        bool, typer.Option("--another", help="This is a different person, whose voice is similar to an enrolled one.")
    ] = False,
    user: User = "0",
) -> None:
    """Enrol a person's voice, so that results name this person.

    The voice is that of the only person in FILE, or of a speaker in a task, with at least 15 s of speech.
    """
    require((recording is None) != (task_id is None), "give either FILE or --task-id")
    at = consent_at.astimezone() if consent_at else datetime.now(timezone.utc)
    require(at <= datetime.now(timezone.utc), "--consent-at is in the future: give the time of the consent")
    has_one_name = (name is None) != (voice is None)
    require(has_one_name, "give either --name for a new voice, or --voice for one that gets a reference")

    async def work(client: Client) -> None:
        owner = parse_user_id(user)
        consent = build_message(Consent, {"by": consent_by, "at": at})
        known_voice = voice and await _voice_id(client, voice, owner)
        source = task_id or await _diarize(client, recording or Path(), owner)
        try:
            enrolled = await client.enroll_voice(
                source, speaker, name=name, voice=known_voice, consent=consent, another=another, user_id=owner
            )
        except RequestFailedError as error:
            if task_id is None and error.code not in _PERMANENT:
                what = f"{error.message} The task is kept for an hour"
                raise ClientError(what, f"give --task-id {source} instead of FILE") from error
            explained = await _explained(client, error, owner, source)
            if task_id is None and source not in str(explained):  # nobody is told to enrol one of its speakers
                with suppress(ClientError):  # the service erases it in an hour
                    await client.delete(source)
            raise explained from error
        out.print(f"enrolled: {enrolled.voice} {enrolled.name}")
        labels = "" if task_id is None else f"{task_id} keeps its labels. "
        err.print(f"{labels}`{command()} transcribe --diarize --identify FILE` names {enrolled.name} from now on.")

    run_with_client(work)


async def _diarize(client: Client, recording: Path, owner: int | str) -> str:
    """Diarize a recording, and return the id of the task, whose data the service erases an hour after its end.

    Raises:
        typer.Exit: The task was not completed; the display has shown why.
    """
    task_id = await client.create_diarization_task(recording, user_id=owner, keep_seconds=3600, identify=True)
    with choose_display(as_json=False) as display:
        display.task_created(recording.name, task_id)
        if not await follow(client, display, task_id, recording.name):
            raise typer.Exit(1)
    return task_id


async def _voice_id(client: Client, id_or_name: str, owner: int | str) -> str:
    """Return the id of a user's voice, given its id or its name.

    Raises:
        ClientError: The user has no such voice, or several voices with this name.
    """
    ids = [voice.voice async for voice in client.voices(owner) if id_or_name in {voice.voice, voice.name}]
    if len(ids) != 1:
        how_many = f"{len(ids)} voices are" if ids else "No voice is"
        what = f"{how_many} called {id_or_name}"
        raise ClientError(what, f"`{command()} voices list` shows the ids")
    return ids[0]


async def _explained(client: Client, refusal: RequestFailedError, owner: int | str, task_id: str) -> ClientError:
    """Return the service's refusal of an enrolment as an error whose message names command-line options, not fields.

    A refusal that names no fields is returned unchanged.
    """
    if "select one as `speaker`" in refusal.message:
        selection = f"--task-id {task_id} --speaker SPEAKER_00"
        return ClientError("The recording has several speakers, or none", f"select one by {selection}, or record one")
    if refusal.message.startswith("No embeddings "):
        what = "The task has no voices, or had them more than seven days ago"
        return ClientError(what, "give FILE without --task-id")
    if refusal.message.startswith("No task "):
        return ClientError(
            f"User {owner} has no task {task_id}",
            f"select its owner by --user-id; `{command()} list` shows the tasks",
        )
    async for voice in client.voices(owner):
        if voice.voice in refusal.message:
            return ClientError(
                f"This sounds like {voice.name}",
                f"--voice {voice.voice} in place of --name gives this voice one more reference; --another enrols "
                "another person",
            )
    return refusal


@voices.command("list")
def show(*, user: User = "0", as_json: Json = False) -> None:
    """List the enrolled voices of a user."""

    async def work(client: Client) -> None:
        enrolled = client.voices(parse_user_id(user))
        await print_messages(enrolled, _COLUMNS, _row, as_json=as_json, none="This user has no voices.")

    run_with_client(work)


@voices.command()
def rename(
    voice: VoiceArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The new name.")],
    *,
    user: User = "0",
) -> None:
    """Rename a voice; transcripts show the new name from now on."""

    async def work(client: Client) -> None:
        owner = parse_user_id(user)
        renamed = await client.rename_voice(await _voice_id(client, voice, owner), name, user_id=owner)
        out.print(f"renamed: {renamed.voice} {renamed.name}")

    run_with_client(work)


@voices.command()
def forget(voice: VoiceArgument, *, user: User = "0") -> None:
    """Erase a voice: its name, its consent and its references."""

    async def work(client: Client) -> None:
        owner = parse_user_id(user)
        voice_id = await _voice_id(client, voice, owner)
        await client.forget_voice(voice_id, user_id=owner)
        out.print(f"forgotten: {voice_id}")

    run_with_client(work)


_COLUMNS = (
    Column("name", max_width=24),
    Column("speech", right=True),
    Column("consent"),
    Column("voice"),
    Column("problem", folds=True),
)


def _row(voice: Voice) -> list[str]:
    speech = clock(sum(reference.seconds for reference in voice.references))
    problem = "" if voice.comparable else "enrolled with another model: not compared, enrol this person again"
    return [voice.name, speech, to_the_minute(voice.consent.at), voice.voice, problem]
