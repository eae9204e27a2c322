"""Commands as processes of their own, with a worker whose engine is scripted."""

import json
import os
import signal
from pathlib import Path

import pytest
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import Interval, TranscriptionResult
from natscribe.transcript_page import page
from redis.asyncio import Redis

from app.main import Worker
from app.runtime.errors import PermanentError, TransientError
from app.settings import Settings
from tests.fakes.engine import FakeEngine
from tests.integration.conftest import Publisher, StartWorker
from tests.terminal import Terminal
from tests.waiting import eventually
from tests.workers import working

STATES = ("t1", "completed"), ("t2", "failed")
pytestmark = pytest.mark.timeout(300)  # a test starts up to eight processes, and other tests run beside it


@pytest.fixture
def terminal(recordings_folder: Path, settings: Settings, worker: Worker) -> Terminal:
    (recordings_folder / "second.flac").write_bytes(b"audio")
    return Terminal(recordings_folder, settings)


async def test_a_folder_names_the_recordings_in_it(terminal: Terminal, recordings_folder: Path) -> None:
    # Given a folder with two recordings and something else in it
    (recordings_folder / "notes.txt").touch()
    # When it is transcribed
    code, out, err = await terminal.run("transcribe", ".")
    # Then both are, each below its name on standard output, in order, and skipped files are listed
    assert code == 0
    assert out.split("== ") == ["", *(f"{name}.flac\n" + "one two\n" * 3 for name in ("meeting", "second"))]
    assert "meeting.flac: 100 %, completed" in err
    assert err.splitlines()[0] == ".: skipped files without the suffix of a recording: notes.txt"


async def test_untranscribed_speech_is_reported_beside_the_result(terminal: Terminal, engine: FakeEngine) -> None:
    # Given an engine that three times finds no text in the same speech
    engine.untranscribed = [Interval(start=2, end=4.5)]
    # When a recording is transcribed, for people and for programs
    code, out, err = await terminal.run("transcribe", "meeting.flac", "--task-id", "t1")
    read_code, read, read_err = await terminal.run("transcribe", "second.flac", "--json")
    _, again, again_err = await terminal.run("result", "t1")
    # Then one line reports the gap, and the results are unchanged
    notice = "speech that was not transcribed at 0:02-0:05: check the recording there."
    assert (code, out.splitlines()) == (0, ["one two"] * 3)
    assert err.splitlines()[-1] == f"meeting.flac: {notice}"
    assert (again, again_err) == (out, f"t1: {notice}\n")
    assert (read_code, read_err) == (0, f"second.flac: {notice}\n")
    # And programs read the messages of the service, and the result last
    first, *_, last_event, result = (json.loads(line) for line in read.splitlines())
    assert (first["state"], last_event["state"]) == ("queued", "completed")
    assert (result["text"], result["untranscribed"]) == ("one two one two one two", [{"start": 2, "end": 4.5}])


async def test_missing_channels_are_reported(terminal: Terminal, engine: FakeEngine) -> None:
    # Given recordings with one channel, when separate channels are requested
    code, out, err = await terminal.run("transcribe", "meeting.flac", "--channels", "separate")
    # Then the text is printed, and a notice
    assert (code, out.splitlines()) == (0, ["one two"] * 3)
    assert err.splitlines()[-1] == "meeting.flac has one channel: transcribed as one."
    # And two channels are speakers, also in a format of speakers
    engine.channels = 2
    _, out, err = await terminal.run("transcribe", "second.flac", "--channels", "separate", "--format", "rttm")
    assert [line.split()[7] for line in out.splitlines()] == ["SPEAKER_00", "SPEAKER_01"] * 3
    assert "one channel" not in err


async def test_results_are_files_where_a_folder_is_named(terminal: Terminal, recordings_folder: Path) -> None:
    # When a file is diarized into a folder
    output = ("--output-dir", "found", "--format", "rttm", "--format", "turns")
    code, out, err = await terminal.run("diarize", "meeting.flac", "--task-id", "t1", *output)
    # Then the result is there in each format
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "wrote found/meeting.rttm and .turns.txt"
    rttm = (recordings_folder / "found" / "meeting.rttm").read_text(encoding="utf-8")
    turns = (recordings_folder / "found" / "meeting.turns.txt").read_text(encoding="utf-8")
    assert rttm.startswith("SPEAKER ")
    assert turns.splitlines()[0].split()[:2] == ["0:00.0-0:05.0", "SPEAKER_00"]
    # And the result is fetched later, beside that of an unknown task
    code, out, err = await terminal.run("result", "t1", "unknown", *output)
    assert (code, out) == (1, "")
    assert err.splitlines()[0] == "wrote found/meeting.rttm and .turns.txt (replaced)"
    assert err.splitlines()[1].startswith("unknown: No task unknown is known")
    # Or beside that of another task with the same recording, which has the name of its task
    await terminal.run("diarize", "meeting.flac", "--task-id", "t2", *output)
    _, _, err = await terminal.run("result", "t1", "t2", "--output-dir", "later")
    assert err == "wrote later/meeting.rttm\nwrote later/t2.rttm\n"


async def test_a_page_plays_its_recording(terminal: Terminal, recordings_folder: Path) -> None:
    # When a recording becomes a page
    output = ("--output-dir", "pages", "--format", "html", "--format", "json")
    code, _, err = await terminal.run("transcribe", "meeting.flac", "--task-id", "t1", *output)
    # Then the page has a link to the recording, and an element for each word
    assert (code, err.splitlines()[-1]) == (0, "wrote pages/meeting.html and .json")
    written = (recordings_folder / "pages" / "meeting.html").read_text(encoding="utf-8")
    assert 'src="../meeting.flac"' in written
    result = json.loads((recordings_folder / "pages" / "meeting.json").read_text(encoding="utf-8"))
    assert written.count("<span>one</span> <span>two</span>") == len(result["segments"]) == 3
    # And a later page plays the recording that --audio names
    await terminal.run("result", "t1", "--format", "html", "--output-dir", "later", "--audio", "second.flac")
    assert 'src="../second.flac"' in (recordings_folder / "later" / "meeting.html").read_text(encoding="utf-8")
    # Or the page goes to standard output, as the service writes it
    code, printed, err = await terminal.run("result", "t1", "--format", "html")
    assert (code, err) == (0, "")
    assert printed == page(TranscriptionResult.model_validate(result))


async def test_a_model_that_no_worker_offers_is_refused_before_the_upload(terminal: Terminal) -> None:
    # When a recording is transcribed with a model that no worker offers, and with one that the workers offer
    code, out, err = await terminal.run("transcribe", "meeting.flac", "--model", "large-v9")
    known_code, _, _ = await terminal.run("transcribe", "second.flac", "--model", "base", "--no-wait")
    # Then the former is refused with the names of those that are offered, and there is no task
    assert (code, out, known_code) == (2, "", 0)
    assert "no worker offers the model large-v9: leave --model out, or choose base or whisper-base" in err
    (task,) = (await terminal.run("list", "--json"))[1].splitlines()
    assert json.loads(task)["audio_file_id"].endswith("second.flac")


async def test_results_come_in_the_order_of_the_arguments(
    recordings_folder: Path, settings: Settings, start_worker: StartWorker, engine: FakeEngine
) -> None:
    # Given two recordings, of which the first one fails its first attempt, and waits longer than the second one takes
    (recordings_folder / "second.flac").write_bytes(b"audio")
    settings.task_retry_delay = 4.0
    engine.fail_with = [TransientError(ErrorCode.ENGINE_FAILED, "The engine died.")]
    # When both are printed
    arguments = ("transcribe", "--stored", "meeting.flac", "second.flac", "--format", "json")
    async with start_worker(engine):
        code, out, err = await Terminal(recordings_folder, settings).run(*arguments)
    # Then the second result waits for the first one, and each is a line of JSON
    assert code == 0
    assert err.index("second.flac: 100 %") < err.index("meeting.flac: 100 %")
    assert [json.loads(line)["audio_file_id"] for line in out.splitlines()] == ["meeting.flac", "second.flac"]


async def test_files_of_one_name_have_results_of_their_own(terminal: Terminal, recordings_folder: Path) -> None:
    # Given two recordings that differ only in their suffix
    (recordings_folder / "Meeting.mp3").write_bytes(b"audio")
    # When both are transcribed, and fetched later
    code, out, _ = await terminal.run("transcribe", "meeting.flac", "Meeting.mp3", "--no-wait")
    first, second = out.split()
    assert code == 0
    for task_id in (first, second):
        await terminal.run("watch", task_id)
    _, _, err = await terminal.run("result", first, second, "--output-dir", "found")
    # Then the suffix distinguishes their results
    assert err == "wrote found/meeting.flac.txt\nwrote found/Meeting.mp3.txt\n"
    # And where one of them is transcribed again, it replaces its own
    _, _, err = await terminal.run("transcribe", "meeting.flac", "--output-dir", "found")
    assert err.splitlines()[-1] == "wrote found/meeting.flac.txt (replaced)"


async def test_a_failed_task_has_exit_code_one(terminal: Terminal) -> None:
    # When a missing recording is transcribed beside an existing one
    code, out, err = await terminal.run("transcribe", "--stored", "gone.flac", "meeting.flac")
    # Then the other one is transcribed
    assert code == 1
    assert "audio_not_found" in err
    assert "Traceback" not in err
    assert out.splitlines() == ["== meeting.flac", *["one two"] * 3]


async def test_an_interrupted_command_reports_how_to_follow_its_task(terminal: Terminal, engine: FakeEngine) -> None:
    # Given a command that follows a task
    engine.may_go_on.clear()
    process = await terminal.start("transcribe", "meeting.flac", "--task-id", "t1")
    assert process.stderr is not None
    while b"fetching" not in (line := await process.stderr.readline()):
        assert line
    # When it is interrupted
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    # Then it reports that the task continues, and it does
    assert process.returncode == 130
    assert "natscribe watch t1" in err.decode()
    assert "Traceback" not in err.decode()
    engine.may_go_on.set()
    code, out, _ = await terminal.run("watch", "t1")
    assert code == 0
    assert "[0:00] one two" in out


async def test_results_are_written_before_an_interruption(
    terminal: Terminal, engine: FakeEngine, recordings_folder: Path
) -> None:
    # Given a command that has written one result, and whose other task is running
    engine.hangs_after = [engine.windows, 1]
    process = await terminal.start("transcribe", "--stored", "meeting.flac", "second.flac", "--output-dir", "found")
    assert process.stderr is not None
    shown = ""
    while "wrote found/" not in shown or "transcribing" not in shown.partition("wrote found/")[2]:
        shown += (line := (await process.stderr.readline()).decode())
        assert line
    # When it is interrupted
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    # Then the first result is on the disk, and the command reports how to follow and fetch the other one
    assert process.returncode == 130
    written = [path.name for path in (recordings_folder / "found").iterdir()]
    assert written in (["meeting.txt"], ["second.txt"])
    done, runs, watch, cancel, _, fetch = err.decode().splitlines()[-6:]
    assert done == "1 of 2 are done, and written to found."
    task_id = runs.removesuffix(" is still running:")
    assert task_id.startswith("second" if written == ["meeting.txt"] else "meeting")
    assert watch == f"  natscribe watch {task_id}    shows its text as it is transcribed"
    assert fetch == f"  natscribe result --output-dir found {task_id}"
    assert cancel == f"  natscribe cancel {task_id}    cancels it"


async def test_a_full_disk_is_reported_in_a_sentence(terminal: Terminal) -> None:
    # Given a disk that is full
    with Path("/dev/full").open("wb") as full:
        # When a command writes there
        process = await terminal.start("queue", "--json", stdout=full.fileno())
        _, err = await process.communicate()
    # Then the command reports it and fails
    assert process.returncode == 1
    assert "no space left" in err.decode()
    assert "Traceback" not in err.decode()


async def test_a_closed_output_ends_the_command_quietly(terminal: Terminal) -> None:
    # Given a task that has ended
    await terminal.run("transcribe", "meeting.flac", "--task-id", "t1")
    # When its output is closed: `natscribe watch t1 --json | head -1`
    reading, writing = os.pipe()
    os.close(reading)
    process = await terminal.start("watch", "t1", "--json", stdout=writing)
    os.close(writing)
    _, err = await process.communicate()
    # Then the command ends quietly
    assert (process.returncode, err) == (141, b"")


async def test_status_result_cancel_and_delete(terminal: Terminal, publisher: Publisher, engine: FakeEngine) -> None:
    # Given a running task
    engine.may_go_on.clear()
    assert (await terminal.run("transcribe", "meeting.flac", "--task-id", "t1", "--no-wait"))[1] == "t1\n"
    await eventually(lambda: _is_running(publisher))
    # When its status and result are requested and it is cancelled, then each command reports its state
    assert "t1: transcription running" in (await terminal.run("status", "t1"))[1]
    code, _, err = await terminal.run("result", "t1")
    assert (code, err) == (1, "t1 has not ended: `natscribe watch t1` waits for it, then repeat this command.\n")
    assert "t1: transcription cancelled" in (await terminal.run("cancel", "t1"))[1]
    code, _, err = await terminal.run("result", "t1")
    assert (code, err) == (1, "t1 is cancelled and has no result. Next: natscribe transcribe FILE.\n")
    assert (await terminal.run("watch", "t1"))[0] == 1
    assert (await terminal.run("delete", "t1"))[0] == 0
    code, _, err = await terminal.run("status", "t1")
    assert (code, "No task t1 is known" in err) == (1, True)
    code, _, err = await terminal.run("result", "t1")
    assert (code, "No task t1 is known" in err, "list` shows the tasks" in err) == (1, True, True)


async def test_a_command_for_many_tasks_reports_the_outcome_of_each(terminal: Terminal) -> None:
    # Given two tasks that have ended
    await terminal.run("transcribe", "meeting.flac", "--task-id", "t1")
    await terminal.run("transcribe", "--stored", "gone.flac", "--task-id", "t2")
    for command, *outcomes in (
        ("cancel", *(f"{task} is already {state}: there is nothing to cancel." for task, state in STATES)),
        ("delete", *(f"{task} is deleted." for task, _ in STATES)),
    ):
        # When both are cancelled or deleted, and an unknown task
        code, _, err = await terminal.run(command, "t1", "unknown", "t2")
        # Then the command reports the outcome of each, and how to list the tasks
        before, refused, after, hint = err.splitlines()
        assert (code, [before, after]) == (1, outcomes)
        assert refused.startswith("unknown: ")
        assert hint == "`natscribe list` shows the tasks that exist."
    assert (await terminal.run("dead-letters", "list")) == (0, "", "There are no dead letters.\n")


async def test_operators_see_queues_and_dead_letters(terminal: Terminal, engine: FakeEngine) -> None:
    # Given a task that failed because of the service, and one that failed because of its client
    engine.fail_with = [PermanentError(ErrorCode.WORKER_LOST, "The worker died: start another one.")]
    await terminal.run("transcribe", "meeting.flac", "--task-id", "t1")
    await terminal.run("transcribe", "--stored", "gone.flac", "--task-id", "t2")
    # Then queues and the one dead letter are shown, and the dead letter can be replayed
    assert (await terminal.run("queue"))[1].startswith("dead letters: 1\n")
    listed = (await terminal.run("list", "--state", "failed"))[1].splitlines()
    assert [line.split()[2:] for line in listed if line.split()[-1] == "t2"] == [
        ["failed", "transcription", "0", "gone.flac", "audio_not_found", "t2"]
    ]
    letters = [line.split()[2:5] for line in (await terminal.run("dead-letters", "list"))[1].splitlines()]
    assert ["transcription", "t1", "worker_lost:"] in letters
    assert not any("t2" in letter for letter in letters)
    assert (await terminal.run("dead-letters", "replay", "--task-id", "t1"))[1] == "queued again: 1\n"


async def test_the_status_has_the_details_of_a_task(terminal: Terminal, worker: Worker) -> None:
    # Given a completed task
    options = ("--diarize", "--vocabulary", "names.txt", "--user-id", "anna")
    (terminal.folder / "names.txt").write_text("Anna Kim\nNatscribe\n", encoding="utf-8")
    await terminal.run("transcribe", "--stored", "meeting.flac", "--task-id", "t1", *options)
    # When its status is requested
    summary, *lines = (await terminal.run("status", "t1"))[1].splitlines()
    # Then it has what the service and the result report
    assert summary == "t1: transcription completed, 100 %"
    details = dict(line.split(maxsplit=1) for line in lines)
    assert (details["length"], details["language"], details["speakers"]) == ("0:30", "en", "2")
    assert (details["worker"], details["user"]) == (worker.container.worker_name, "anna")
    assert details["options"] == "vocabulary Anna Kim, Natscribe, diarize"
    # And a program reads the same status
    status = json.loads((await terminal.run("status", "t1", "--json"))[1])
    assert (status["duration_seconds"], status["worker"]) == (30.0, details["worker"])


async def test_a_task_is_watched_while_no_worker_runs(
    recordings_folder: Path, settings: Settings, redis: Redis, engine: FakeEngine, publisher: Publisher
) -> None:
    # Given a task that has ended, and no worker any more
    async with working(settings, engine):
        await publisher.publish("t1")
        await publisher.until("t1", State.COMPLETED)
    terminal = Terminal(recordings_folder, settings)
    # When the task is watched
    code, out, err = await terminal.run("watch", "t1")
    # Then its events are read from NATS
    assert (code, len(out.splitlines())) == (0, 3)
    assert "t1: 100 %, completed" in err
    # And a task without events is not waited for: only a worker could say whether it exists
    assert (await terminal.run("watch", "t2"))[:2] == (1, "")


async def _is_running(publisher: Publisher) -> bool:
    return (await publisher.request("tasks.status", task_id="t1")).get("state") == "running"
