"""The command line: usage, and errors that say the next step."""

import asyncio
import shlex
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from unittest.mock import AsyncMock, Mock

import pytest
from natscribe.client import Client, RequestFailedError
from natscribe.schemas.redaction import EntityGroup, EntityType, Replacement, TaskRedaction
from natscribe.schemas.transcription import Channels, Numbers, TranscribeOptions

from app.requests.task_lookup import find_task
from app.runtime.errors import RequestError
from tests.unit.cli.conftest import Run

Requests = list[dict[str, object]]


@pytest.fixture
def closed_port() -> str:
    """The URL of a port without a server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"nats://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def requests(no_server: None, monkeypatch: pytest.MonkeyPatch) -> Requests:
    """The requests to a client that creates no tasks."""
    requests: Requests = []

    async def create(_: object, recording: Path | str, **fields: object) -> str:
        requests.append({"recording": recording, **fields})
        return "t1"

    for kind in ("transcription", "diarization"):
        monkeypatch.setattr(Client, f"create_{kind}_task", create)
    return requests


@pytest.mark.parametrize(
    "command",
    [["status", "t1"], ["watch", "t1"], ["result", "t1"], ["queue"], ["dead-letters", "list"], ["transcribe", "a.wav"]],
)
def test_a_missing_server_is_reported_in_one_sentence(
    run: Run, closed_port: str, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    Path("a.wav").write_bytes(b"audio")
    monkeypatch.setenv("NATS_URL", closed_port)
    result = run(*command)
    # Then the error says so, and how to start one
    assert result.exit_code == 1
    assert result.stderr == (
        f"No NATS server answers at {closed_port}: set NATS_URL to the address of a server, "
        "or start the service with `natscribe up`.\n"
    )


def test_other_commands_use_the_servers_of_up(run: Run, closed_port: str) -> None:
    # Given the file that `natscribe up` writes
    Path(".data").mkdir()
    Path(".data/endpoints.env").write_text(f"NATS_URL={closed_port}\n", encoding="utf-8")
    # Then another command connects there
    assert closed_port in run("status", "t1").stderr
    # And `.env` takes precedence
    Path(".env").write_text("NATS_URL=nats://127.0.0.1:1\n", encoding="utf-8")
    assert "nats://127.0.0.1:1:" in run("status", "t1").stderr


def test_an_option_names_the_servers_in_place_of_the_environment(
    run: Run, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_URL", "nats://nowhere.invalid:4222")
    for command in ("list", "voices list", "status t1"):
        assert f"No NATS server answers at {closed_port}" in run(*command.split(), "--server", closed_port).stderr


def test_passwords_are_not_shown(run: Run, closed_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", closed_port.replace("//", "//me:secret@"))
    assert "secret" not in run("status", "t1").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transcribe", "a.wav", "b.wav", "--task-id", "t1"], "--task-id names one task"),
        (["result", "t1", "--format", "pdf"], "'pdf' is not one of"),
        (["transcribe", "a.wav", "--max-speakers", "2"], "add --diarize"),
        (["transcribe", "a.wav", "--format", "rttm"], "add --diarize"),
        (
            ["transcribe", "gone.wav", "https://a.b/c.mp3"],
            "There is no file gone.wav: check the name. https://a.b/c.mp3 is a",
        ),
        (["transcribe", "a.wav", "--format", "txt", "--format", "srt"], "several --format go into files: add"),
        (["transcribe", "a.wav", "--json", "--format", "srt"], "--json prints results as JSON: leave --format srt out"),
        (["transcribe", "a.wav", "--output-dir", "/dev/null"], "--output-dir /dev/null cannot be created: File exists"),
        (
            ["transcribe", "a.wav", "--no-wait", "--format", "srt"],
            "--no-wait writes no result: leave --format",
        ),
        (["result", "t1", "--max-lines", "1"], "--max-lines is for subtitles: add --format srt or --format vtt"),
        (["result", "t1", "--format", "srt", "--max-line-chars", "5"], "max_line_chars: Input should be greater"),
        (
            ["transcribe", "a.wav", "--language", "ru", "--language", "en"],
            "2 times, and FILE 1 times: give the language once",
        ),
        (["transcribe", "a.wav", "b.wav", "--language", "ru", "--language", "Engelsh"], "language: use a code of ISO"),
        (["transcribe", "a.wav", "--prompt", "x" * 801], "prompt: String should have at most 800 characters"),
        (["transcribe", "a.wav", "--vocabulary", "none.txt"], "--vocabulary none.txt cannot be read: No such file"),
        (
            ["transcribe", "--stored", "a", "b", "--format", "vtt"],
            "several results cannot be one vtt: add --output-dir",
        ),
        (["result", "t1", "t2", "--format", "vtt"], "several results cannot be one vtt: add --output-dir FOLDER"),
        (["delete"], "give either TASK_IDs or --user"),
        (["delete", "t1", "--user", "anna"], "give either TASK_IDs or --user"),
        (["transcribe", "a.wav", "--keep-seconds", "59"], "59 is not in the range 60<=x<=604800"),
        (["transcribe", "a.wav", "--not-before", "tomorrow"], "write a time with its zone as in RFC 3339"),
        (["diarize", "a.wav", "--format", "srt"], "'srt' is not one of 'turns', 'json', 'rttm', 'html'"),
        (["result", "t1", "--audio", "a.wav"], "--audio is for pages: add --format html"),
        (["result", "t1", "--audio", "a.wav", "--format", "html"], "there is no file a.wav: check the name"),
        (["result", "t1", "t2", "--audio", "a.wav", "--format", "html"], "--audio is the recording of one task"),
        (["status", "a b"], "task_id: use letters, digits, - and _, at most 64"),
        (["transcribe", "--stored", "a.wav", "--task-id", "a.b"], "task_id: use letters, digits, - and _, at most 64"),
        (["transcribe", "--stored", "a.wav", "--user-id", ""], "user_id: use an integer of 64 bits, or 1 to 64"),
        (["diarize", "--stored", "a.wav", "--user-id", "x" * 65], "user_id: use an integer of 64 bits, or 1 to 64"),
        (["transcribe", "a.wav", "--identify"], "--identify names speakers: add --diarize"),
        (["live", "a.wav", "--identify"], "--identify names speakers: add --diarize"),
        (["live", "a.wav", "--resume", "t1"], "--resume continues with live audio"),
        (["live", "-", "--resume", "t1", "--task-id", "t2"], "--resume has the id of the task already"),
        (["live", "-", "--resume", "t1", "--codec", "opus"], "--resume cannot continue opus"),
        (["voices", "enroll", "--name", "Anna", "--consent-by", "Anna"], "give either FILE or --task-id"),
        (["voices", "enroll", "a.wav", "--consent-by", "Anna"], "give either --name for a new voice, or --voice"),
        (["voices", "enroll", "--task-id", "t1", "--name", "Anna"], "Missing option '--consent-by'"),
        (["dead-letters", "replay"], "give exactly one of --task-id, --kind and --code"),
        (["dead-letters", "delete", "--task-id", "t1", "--code", "expired"], "give exactly one of --task-id, --kind"),
    ],
)
@pytest.mark.usefixtures("no_server")
def test_wrong_usage_has_exit_code_two(run: Run, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("written", "user"),
    [
        ("7", 7),
        ("-7", -7),
        ("anna", "anna"),
        ("007", "007"),
        (str(2**63 - 1), 2**63 - 1),
        (str(2**63), str(2**63)),
        ("٣", "٣"),
    ],
)
def test_a_user_is_an_integer_or_a_name(run: Run, requests: Requests, written: str, user: int | str) -> None:
    assert run("transcribe", "--stored", "--no-wait", "a.wav", "--user-id", written).exit_code == 0
    # Then an integer stays one, and everything else is a name
    assert [request["user_id"] for request in requests] == [user]


@pytest.mark.parametrize(
    ("options", "languages"),
    [([], [None, None]), (["ru"], ["ru", "ru"]), (["ru", "en"], ["ru", "en"]), (["русский", "EN"], ["ru", "en"])],
)
def test_a_language_is_of_all_files_or_of_each(
    run: Run, requests: Requests, options: list[str], languages: list[str | None]
) -> None:
    arguments = [word for language in options for word in ("--language", language)]
    assert run("transcribe", "--stored", "--no-wait", "a.wav", "b.wav", *arguments).exit_code == 0
    assert [request["language"] for request in requests] == languages


def test_a_recording_that_is_named_twice_is_processed_once(run: Run, requests: Requests) -> None:
    # Given a recording in a subfolder, and a link to it
    Path("calls/sub").mkdir(parents=True)
    Path("calls/sub/a.mp3").write_bytes(b"audio")
    Path("link.mp3").symlink_to("calls/sub/a.mp3")
    # When it is named in three ways
    result = run("transcribe", "--no-wait", "calls", "calls/sub", "link.mp3")
    # Then there is one task, and the command reports it
    assert [request["recording"] for request in requests] == [Path("calls/sub/a.mp3")]
    assert result.stderr == "Named more than once: 2 of the recordings. Each is processed once.\n"


def test_the_language_of_a_folder_applies_to_its_recordings(run: Run, requests: Requests) -> None:
    # Given a folder of two recordings, and another file
    Path("calls").mkdir()
    for name in ("calls/b.mp3", "calls/a.mp3", "c.mp3"):
        Path(name).write_bytes(b"audio")
    # When each has a language
    result = run("transcribe", "--no-wait", "--language", "ru", "--language", "en", "calls", "c.mp3")
    assert result.exit_code == 0
    assert [(request["recording"], request["language"]) for request in requests] == [
        (Path("calls/a.mp3"), "ru"),
        (Path("calls/b.mp3"), "ru"),
        (Path("c.mp3"), "en"),
    ]


def test_each_option_of_a_transcription_can_be_given(run: Run, requests: Requests) -> None:
    # Given all options of the contract
    Path("names.txt").write_text("Natscribe\n", encoding="utf-8")
    options = {
        "model": "base",
        "language": "ru",
        "vocabulary": ("Natscribe",),
        "prompt": "A call.",
        "translate": True,
        "channels": Channels.SEPARATE,
        "numbers": Numbers.DIGITS,
        "redact": TaskRedaction(entities=(EntityGroup.PCI, EntityType.PHONE), replace=Replacement.MASK),
    }
    assert set(options) == set(TranscribeOptions.model_fields)
    arguments = shlex.split(
        "--model base --language ru --vocabulary names.txt --translate --channels separate --numbers digits "
        "--redact pci,phone --redact-replace mask"
    )
    assert run("transcribe", "--stored", "--no-wait", "a.wav", *arguments, "--prompt", "A call.").exit_code == 0
    # Then the client receives each
    assert options.items() <= requests[0].items()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--redact", "cards"], "did you mean card?"),
        (["--redact", ""], "there is no such entity"),
        (["--redact-replace", "mask"], "add --redact"),
    ],
)
@pytest.mark.parametrize("command", [["transcribe", "--stored", "a.wav"], ["live", "-"]])
def test_what_cannot_be_redacted_is_an_error_of_usage(
    run: Run, command: list[str], arguments: list[str], words: str
) -> None:
    result = run(*command, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize("command", ["queue", "list", "doctor"])
def test_a_wrong_setting_has_exit_code_two(run: Run, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("AUDIO_STORE", "ftp://recordings")
    result = run(command)
    assert result.exit_code == 2
    assert result.stderr.startswith("The setting AUDIO_STORE is wrong: write nats://BUCKET")


@pytest.mark.parametrize(
    ("called", "named"),
    [("bin/natscribe", "bin/natscribe"), ("pytest", "natscribe"), ("{here}/bin/natscribe", "bin/natscribe")],
)
def test_messages_name_the_command_as_it_was_called(
    run: Run, closed_port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str, named: str
) -> None:
    # Given a command that is not in the PATH, or that another program calls
    monkeypatch.setattr("sys.argv", [called.format(here=tmp_path)])
    monkeypatch.setenv("NATS_URL", closed_port)
    # Then a message has a command that can be typed
    assert f"`{named} up`" in run("status", "t1").stderr


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").stdout == f"natscribe {version('natscribe')}\n"


WITHOUT_SERVER = {"", "demo", "dead-letters", "quotas", "voices"}  # groups of commands, and one with servers of its own
COMMANDS = ["up", "demo", "transcribe", "diarize", "watch", "status", "result", "cancel", "delete", "queue", "mock"]
COMMANDS += ["doctor", "top", "list", "dead-letters", "dead-letters list", "dead-letters replay", "dead-letters delete"]
COMMANDS += ["quotas", "quotas list", "quotas set", "quotas delete"]


@pytest.mark.parametrize("width", [70, 80, 120])
def test_no_line_of_the_help_is_cut(run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments in ([], ["dead-letters"], ["quotas"]):
        lines = run(*arguments, "-h").stdout.splitlines()
        # Then each command has one complete sentence
        commands = [line for line in lines[lines.index("Commands:") + 1 :] if line]
        assert len(commands) > 2
        assert [line for line in commands if not line.endswith(".") or line.endswith("...") or len(line) > width] == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_each_command_has_help_also_by_a_short_option(run: Run, command: str) -> None:
    short, long = run(*command.split(), "-h"), run(*command.split(), "--help")
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert "-h, --help" in short.stdout
    assert ("--server" in short.stdout) is (command not in WITHOUT_SERVER)


@pytest.mark.parametrize("command", ["transcribe", "live"])
def test_the_help_describes_the_default_format(run: Run, command: str) -> None:
    described = "By default each segment is printed when it is transcribed, after the time at which it begins"
    assert described in " ".join(run(command, "-h").stdout.split())


def test_a_misspelt_command_is_corrected(run: Run) -> None:
    result = run("transcrib")
    assert result.exit_code == 2
    assert "Did you mean 'transcribe'?" in result.stderr


def test_a_command_imports_only_what_it_needs() -> None:
    # Given a program that lists its modules
    program = """
import sys
from natscribe.cli.commands import command_line
command_line(["list", "--limit", "1"])
print(*(name for name in sys.modules if name.startswith(("natscribe.cli.", "natscribe.", "rich."))))
"""
    imported = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    # Then it imports neither other commands nor their dependencies
    assert "natscribe.cli.listing" in imported
    others = {"natscribe.cli.submit", "natscribe.cli.top", "natscribe.mock", "natscribe.subtitles", "rich.progress"}
    assert others.isdisjoint(imported)


def test_an_interrupt_while_modules_are_imported_has_no_traceback() -> None:
    program = """
import sys
class CtrlC:
    def find_spec(name, *_):
        if name == "natscribe.cli.commands":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC)
from natscribe.cli import main
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, "")


@pytest.mark.parametrize(
    ("reply", "arguments", "deleted"),
    [("y\n", (), [7]), ("\n", (), []), ("", ("--yes",), [7])],
)
@pytest.mark.usefixtures("no_server")
def test_deleting_a_user_requires_confirmation(
    run: Run, monkeypatch: pytest.MonkeyPatch, reply: str, arguments: tuple[str, ...], deleted: list[int | str]
) -> None:
    requests: list[int | str] = []

    async def delete_user(_: object, user_id: int | str) -> int:
        requests.append(user_id)
        return 3

    monkeypatch.setattr(Client, "delete_user", delete_user)
    result = run("delete", "--user", "7", *arguments, input=reply)
    assert requests == deleted
    assert ("deleted: 3" in result.stdout) is bool(deleted)
    assert (result.exit_code == 0) is bool(deleted)


@pytest.mark.usefixtures("requests")
def test_programs_that_do_not_wait_get_the_task_id_as_json(run: Run) -> None:
    assert run("transcribe", "--stored", "--no-wait", "--json", "a.wav").stdout == '{"task_id":"t1"}\n'


@pytest.mark.usefixtures("no_server")
def test_an_interrupted_upload_reports_how_to_submit_the_rest(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given three recordings in a folder, and one beside it, of which the second upload is interrupted
    Path("calls").mkdir()
    for name in ("calls/a.wav", "calls/b c.wav", "calls/d.wav", "e.wav"):
        Path(name).write_bytes(b"audio")
    create = AsyncMock(side_effect=["t1", asyncio.CancelledError, "t3", "t4"])
    monkeypatch.setattr(Client, "create_diarization_task", create)
    arguments = ["diarize", "calls", "--identify", "e.wav", "--no-wait"]
    monkeypatch.setattr(sys, "argv", ["natscribe", *arguments])
    # When the command ends, then it prints the command that continues, with the same options
    lines = run(*arguments).stderr.splitlines()
    unsent = lines.index("1 not submitted: b c.wav. Submit the rest:")
    assert lines[unsent + 1] == "  natscribe diarize --identify --no-wait 'calls/b c.wav'"


@pytest.mark.usefixtures("no_server")
def test_an_unknown_task_is_reported_as_such_by_a_busy_service(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a service that cannot search all waiting tasks in time
    with pytest.raises(RequestError) as late:
        asyncio.run(find_task(Mock(last=AsyncMock(side_effect=TimeoutError)), Mock(), Mock(), "t9"))
    error = RequestFailedError(late.value.detail)
    monkeypatch.setattr(Client, "get_task_result", AsyncMock(side_effect=error))
    # When the result of an unknown task is requested, then the id is questioned, and the next step is printed
    why, hint = run("result", "t9").stderr.splitlines()
    assert why.startswith("No task t9 was found within 4 s")
    assert "check the id" in why
    assert hint == "`natscribe list` shows the tasks that exist."


@pytest.mark.parametrize("command", ["transcribe", "diarize"])
def test_a_task_may_start_later_and_have_a_shorter_retention(run: Run, requests: Requests, command: str) -> None:
    options = ("--not-before", "2026-01-01T15:00:00+03:00", "--keep-seconds", "60")
    assert run(command, "--stored", "--no-wait", "a.wav", *options).exit_code == 0
    (request,) = requests
    assert (request["not_before"], request["keep_seconds"]) == (datetime(2026, 1, 1, 12, tzinfo=UTC), 60)
