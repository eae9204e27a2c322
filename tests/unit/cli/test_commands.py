"""The commands' own manners: usage, and errors that say the next step."""

import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from natscribe.cli.commands import command_line
from natscribe.client import Client
from natscribe.schemas.transcription import Channels, TranscribeOptions
from typer.testing import CliRunner, Result

Run = Callable[..., Result]
Asked = list[dict[str, object]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in an empty folder, where nothing says where servers are."""
    monkeypatch.chdir(tmp_path)
    for name in ("NATS_URL", "REDIS_URL", "AUDIO_STORE"):
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments: CliRunner().invoke(command_line(arguments), arguments)


@pytest.fixture
def nobody() -> str:
    """The URL of a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"nats://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture
def asked(no_server: None, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What a client is asked for that takes tasks and does nothing."""
    asked: Asked = []

    async def create(_: object, recording: Path | str, **fields: object) -> str:
        asked.append({"recording": recording, **fields})
        return "t1"

    for kind in ("transcription", "diarization"):
        monkeypatch.setattr(Client, f"create_{kind}_task", create)
    return asked


@pytest.mark.parametrize(
    "command",
    [["status", "t1"], ["watch", "t1"], ["result", "t1"], ["queue"], ["dead-letters", "list"], ["transcribe", "a.wav"]],
)
def test_a_missing_server_is_one_sentence(
    run: Run, nobody: str, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    # Given that no server answers
    Path("a.wav").write_bytes(b"sound")
    monkeypatch.setenv("NATS_URL", nobody)
    # When a command needs one
    result = run(*command)
    # Then it says so, and how to start one
    assert result.exit_code == 1
    assert result.stderr == (
        f"No NATS server answers at {nobody}: set NATS_URL to the address of a server, "
        "or start the service with `natscribe up`.\n"
    )


def test_up_tells_the_others_where_its_servers_are(run: Run, nobody: str) -> None:
    # Given what `natscribe up` has written
    Path(".data").mkdir()
    Path(".data/endpoints.env").write_text(f"NATS_URL={nobody}\n", encoding="utf-8")
    # When another command looks for the server
    # Then it goes there
    assert nobody in run("status", "t1").stderr
    # And what `.env` says goes first
    Path(".env").write_text("NATS_URL=nats://127.0.0.1:1\n", encoding="utf-8")
    assert "nats://127.0.0.1:1:" in run("status", "t1").stderr


def test_passwords_are_not_shown(run: Run, nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a URL with a password in it
    monkeypatch.setenv("NATS_URL", nobody.replace("//", "//me:secret@"))
    # When the server is missing
    # Then the message does not repeat it
    assert "secret" not in run("status", "t1").output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["transcribe"], "Missing argument"),
        (["transcribe", "a.wav", "b.wav", "--task-id", "t1"], "--task-id names one task"),
        (["transcribe", "a.wav", "--priority", "urgent"], "'urgent' is not one of"),
        (["result", "t1", "--format", "pdf"], "'pdf' is not one of"),
        (["transcribe", "a.wav", "--max-speakers", "2"], "add --diarize"),
        (["transcribe", "a.wav", "--format", "rttm"], "add --diarize"),
        (
            ["transcribe", "gone.wav", "https://a.b/c.mp3"],
            "There is no file gone.wav: check the name. https://a.b/c.mp3 is a",
        ),
        (["transcribe", "*.wav"], "no recording matches *.wav: check the pattern"),
        (["transcribe", "a.wav", "--format", "txt", "--format", "srt"], "several --format go into files: add"),
        (["result", "t1", "--format", "txt", "--format", "srt"], "several --format go into files: add"),
        (["transcribe", "a.wav", "--json", "--format", "srt"], "--json prints results as JSON: leave --format srt out"),
        (["transcribe", "a.wav", "--output-dir", "/dev/null"], "--output-dir /dev/null cannot be created: File exists"),
        (
            ["transcribe", "a.wav", "--no-wait", "--format", "srt"],
            "--no-wait writes no result: leave --format",
        ),
        (
            ["diarize", "a.wav", "--no-wait", "--output-dir", "texts"],
            "--output-dir out, and add them to `result TASK_ID`",
        ),
        (["result", "t1", "--max-lines", "1"], "--max-lines is for subtitles: add --format srt or --format vtt"),
        (["result", "t1", "--format", "srt", "--max-line-chars", "5"], "max_line_chars: Input should be greater"),
        (["transcribe", "a.wav", "--max-cue-seconds", "4"], "--max-cue-seconds is for subtitles"),
        (
            ["transcribe", "a.wav", "--language", "ru", "--language", "en"],
            "2 times, and FILE 1 times: give the language once",
        ),
        (["transcribe", "a.wav", "b.wav", "--language", "ru", "--language", "Engelsh"], "language: use a code of ISO"),
        (["transcribe", "a.wav", "--prompt", "x" * 801], "prompt: String should have at most 800 characters"),
        (["transcribe", "a.wav", "--vocabulary", "none.txt"], "--vocabulary none.txt cannot be read: No such file"),
        (["transcribe", "a.wav", "--channels", "left"], "'left' is not one of 'auto', 'mix', 'separate'"),
        (["transcribe", "."], "there is no recording in .: name a folder"),
        (["delete"], "give either TASK_IDs or --user"),
        (["delete", "t1", "--user", "anna"], "give either TASK_IDs or --user"),
        (["transcribe", "a.wav", "--keep-seconds", "59"], "59 is not in the range 60<=x<=604800"),
        (["diarize", "."], "there is no recording in .: name a folder"),
        (["diarize", "a.wav", "--format", "srt"], "'srt' is not one of 'rttm', 'turns', 'html', 'json'"),
        (["result", "t1", "--audio", "a.wav"], "--audio is for pages: add --format html"),
        (["result", "t1", "--audio", "a.wav", "--format", "html"], "there is no file a.wav: check the name"),
        (["result", "t1", "t2", "--audio", "a.wav", "--format", "html"], "--audio is the recording of one task"),
    ],
)
def test_misuse_ends_with_two(run: Run, arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


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
def test_a_user_is_an_integer_or_a_name(run: Run, asked: Asked, written: str, user: int | str) -> None:
    # Given a client that only looks at what it is asked for
    # When a task is made for somebody
    assert run("transcribe", "--stored", "--no-wait", "a.wav", "--user-id", written).exit_code == 0
    # Then an integer is one, and everything else is a name
    assert [each["user_id"] for each in asked] == [user]


@pytest.mark.parametrize(
    ("given", "languages"),
    [([], [None, None]), (["ru"], ["ru", "ru"]), (["ru", "en"], ["ru", "en"]), (["русский", "EN"], ["ru", "en"])],
)
def test_a_language_is_of_all_files_or_of_each(
    run: Run, asked: Asked, given: list[str], languages: list[str | None]
) -> None:
    options = [word for language in given for word in ("--language", language)]
    assert run("transcribe", "--stored", "--no-wait", "a.wav", "b.wav", *options).exit_code == 0
    assert [each["language"] for each in asked] == languages


def test_a_recording_that_is_named_twice_is_processed_once(run: Run, asked: Asked) -> None:
    # Given a folder in a folder, a recording there, and a link to it
    Path("calls/sub").mkdir(parents=True)
    Path("calls/sub/a.mp3").write_bytes(b"sound")
    Path("link.mp3").symlink_to("calls/sub/a.mp3")
    # When it is named in three ways
    result = run("transcribe", "--no-wait", "calls", "calls/sub", "link.mp3")
    # Then there is one task, and the command says so
    assert [each["recording"] for each in asked] == [Path("calls/sub/a.mp3")]
    assert result.stderr == "Named more than once: 2 of the recordings. Each is processed once.\n"


def test_the_language_of_a_folder_is_that_of_its_recordings(run: Run, asked: Asked) -> None:
    # Given a folder of two recordings, and another file
    Path("calls").mkdir()
    for name in ("calls/b.mp3", "calls/a.mp3", "c.mp3"):
        Path(name).write_bytes(b"sound")
    # When both are given, with a language each
    result = run("transcribe", "--no-wait", "--language", "ru", "--language", "en", "calls", "c.mp3")
    # Then that of the folder is that of each recording in it
    assert result.exit_code == 0
    assert [(each["recording"], each["language"]) for each in asked] == [
        (Path("calls/a.mp3"), "ru"),
        (Path("calls/b.mp3"), "ru"),
        (Path("c.mp3"), "en"),
    ]


def test_each_option_of_a_transcription_can_be_given(run: Run, asked: Asked) -> None:
    # Given all options of the contract
    Path("names.txt").write_text("Natscribe\n", encoding="utf-8")
    options = {
        "model": "base",
        "language": "ru",
        "vocabulary": ("Natscribe",),
        "prompt": "A call.",
        "translate": True,
        "channels": Channels.SEPARATE,
    }
    assert set(options) == set(TranscribeOptions.model_fields)
    # When each is given
    words = [
        "--model",
        "base",
        "--language",
        "ru",
        "--vocabulary",
        "names.txt",
        "--translate",
        "--channels",
        "separate",
    ]
    assert run("transcribe", "--stored", "--no-wait", "a.wav", *words, "--prompt", "A call.").exit_code == 0
    # Then the client hears of each
    assert options.items() <= asked[0].items()


def test_a_wrong_setting_is_misuse_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a setting that cannot be
    monkeypatch.setenv("AUDIO_STORE", "ftp://recordings")
    # When any command reads the settings
    result = run("queue")
    # Then it says which and why
    assert result.exit_code == 2
    assert "The setting AUDIO_STORE is wrong: write nats://BUCKET" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status", "a b"], "task_id: use letters, digits, - and _, at most 64"),
        (["transcribe", "--stored", "a.wav", "--task-id", "a.b"], "task_id: use letters, digits, - and _, at most 64"),
        (["transcribe", "--stored", "a.wav", "--language", "Engelsh"], "language: use a code of ISO 639-1, like en"),
        (["transcribe", "--stored", "a.wav", "--user-id", ""], "user_id: use an integer of 64 bits, or 1 to 64"),
        (["diarize", "--stored", "a.wav", "--user-id", "x" * 65], "user_id: use an integer of 64 bits, or 1 to 64"),
    ],
)
@pytest.mark.usefixtures("no_server")
def test_what_cannot_be_is_said_in_words(run: Run, arguments: list[str], words: str) -> None:
    # When something is asked for that cannot be
    result = run(*arguments)
    # Then no pattern is shown
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("called", "named"),
    [("bin/natscribe", "bin/natscribe"), ("pytest", "natscribe"), ("{here}/bin/natscribe", "bin/natscribe")],
)
def test_messages_name_the_command_as_it_was_called(
    run: Run, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str, named: str
) -> None:
    # Given a command that is not in the PATH, or that is called by a program
    monkeypatch.setattr("sys.argv", [called.format(here=tmp_path)])
    monkeypatch.setenv("NATS_URL", nobody)
    # When a message says what to type
    # Then it can be typed
    assert f"`{named} up`" in run("status", "t1").stderr


@pytest.mark.parametrize("action", ["replay", "delete"])
@pytest.mark.parametrize("options", [[], ["--task-id", "t1", "--code", "expired"]], ids=["none", "two"])
def test_dead_letters_are_chosen_by_one_option(run: Run, action: str, options: list[str]) -> None:
    # When dead letters are chosen by no option, or by two
    result = run("dead-letters", action, *options)
    # Then the options are named as they are typed
    assert result.exit_code == 2
    assert "give exactly one of --task-id, --kind and --code" in " ".join(result.stderr.split())


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").stdout == f"natscribe {version('natscribe')}\n"


COMMANDS = ["up", "demo", "transcribe", "diarize", "watch", "status", "result", "cancel", "delete", "queue", "mock"]
COMMANDS += ["doctor", "top", "list", "dead-letters", "dead-letters list", "dead-letters replay", "dead-letters delete"]


@pytest.mark.parametrize("width", [70, 80, 120])
def test_no_line_of_the_help_is_cut(run: Run, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    # Given a terminal of some width
    monkeypatch.setenv("COLUMNS", str(width))
    # When the commands are listed, and those of a command
    for arguments in ([], ["dead-letters"]):
        lines = run(*arguments, "-h").stdout.splitlines()
        # Then each is told in one sentence, which ends
        found = [line for line in lines[lines.index("Commands:") + 1 :] if line]
        assert len(found) > 2
        assert [line for line in found if not line.endswith(".") or line.endswith("...") or len(line) > width] == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_each_command_explains_itself_also_by_a_short_option(run: Run, command: str) -> None:
    short, long = run(*command.split(), "-h"), run(*command.split(), "--help")
    assert (short.exit_code, short.stdout) == (0, long.stdout)
    assert "-h, --help" in short.stdout


@pytest.mark.parametrize("command", ["transcribe", "live"])
def test_the_text_that_comes_as_it_is_found_has_times(run: Run, command: str) -> None:
    assert "By default text as it is found, each segment with its time" in " ".join(run(command, "-h").stdout.split())


def test_a_misspelt_command_is_answered_with_its_name(run: Run) -> None:
    # When nothing has the name, then the commands are searched for a similar one
    result = run("transcrib")
    assert result.exit_code == 2
    assert "Did you mean 'transcribe'?" in result.stderr


def test_a_command_imports_only_what_it_needs() -> None:
    # Given a program that makes the command for its arguments
    telling = """
import sys
from natscribe.cli.commands import command_line
command_line(["list", "--limit", "1"])
print(*(name for name in sys.modules if name.startswith(("natscribe.cli.", "natscribe.", "rich."))))
"""
    # When it is to list tasks
    imported = subprocess.run(
        [sys.executable, "-c", telling], capture_output=True, text=True, check=True
    ).stdout.split()
    # Then it imports neither other commands nor what only those use
    assert "natscribe.cli.listing" in imported
    others = {"natscribe.cli.submit", "natscribe.cli.top", "natscribe.mock", "natscribe.subtitles", "rich.progress"}
    assert others.isdisjoint(imported)


def test_a_command_that_is_interrupted_before_it_has_begun_ends_quietly() -> None:
    # Given a Ctrl-C while the command's modules are loaded
    interrupting = """
import sys
class CtrlC:
    def find_spec(name, *_):
        if name == "natscribe.cli.commands":
            raise KeyboardInterrupt
sys.meta_path.insert(0, CtrlC)
from natscribe.cli import main
main()
"""
    # When it is run
    ended = subprocess.run([sys.executable, "-c", interrupting], capture_output=True, text=True, check=False)
    # Then it ends as an interrupted command does, without a traceback
    assert (ended.returncode, ended.stderr) == (130, "")


@pytest.mark.parametrize(
    ("answer", "arguments", "deleted"),
    [("y\n", (), [7]), ("n\n", (), []), ("\n", (), []), ("", (), []), ("", ("--yes",), [7])],
    ids=["yes", "no", "enter", "nobody answers", "--yes"],
)
@pytest.mark.usefixtures("no_server")
def test_a_user_is_deleted_only_if_somebody_confirms_it(
    monkeypatch: pytest.MonkeyPatch, answer: str, arguments: tuple[str, ...], deleted: list[int | str]
) -> None:
    # Given a client that only notes whom it is to delete
    asked: list[int | str] = []

    async def delete_user(_: object, user_id: int | str) -> int:
        asked.append(user_id)
        return 3

    monkeypatch.setattr(Client, "delete_user", delete_user)
    # When a user is to be deleted
    result = CliRunner().invoke(command_line(["delete"]), ["delete", "--user", "7", *arguments], input=answer)
    # Then that is done after a confirmation, and told
    assert asked == deleted
    assert ("deleted: 3" in result.stdout) is bool(deleted)
    assert (result.exit_code == 0) is bool(deleted)


@pytest.mark.parametrize("command", ["transcribe", "diarize"])
def test_a_task_may_ask_to_be_kept_for_less(run: Run, asked: Asked, command: str) -> None:
    assert run(command, "--stored", "--no-wait", "a.wav", "--keep-seconds", "60").exit_code == 0
    assert [each["keep_seconds"] for each in asked] == [60]
