"""Displays of progress: bars, plain lines and JSON."""

import json
from datetime import timedelta
from io import StringIO

import pytest
from natscribe.cli import bars
from natscribe.cli.bars import ProgressBars, choose_display
from natscribe.cli.display import JsonLines, PlainLines, ShownText
from natscribe.cli.wording import shortened
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import ProgressEvent, Stage, State
from natscribe.schemas.transcription import SegmentsEvent
from rich.console import Console
from rich.text import Text

from tests.unit.messages import NOON, progress_event, segment, segments_event, task_status

RUNNING = progress_event(stage=Stage.TRANSCRIBING, progress=11)
SEGMENTS = segments_event(segment(0, "[bold]Hello.", end=9))


def test_plain_lines_show_each_tenth_of_the_work_once(capsys: pytest.CaptureFixture[str]) -> None:
    # Given no terminal
    with choose_display(as_json=False) as display:
        for progress in (11, 13, 21):
            display.show("a.wav", RUNNING.model_copy(update={"progress": progress}))
    # Then standard output is left to the result
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["a.wav: 11 %, transcribing", "a.wav: 21 %, transcribing"]
    assert printed.out == ""


def test_a_task_without_progress_has_no_percentage(capsys: pytest.CaptureFixture[str]) -> None:
    # When a task fails before or after some of its recording is processed
    error = ErrorDetail(code=ErrorCode.AUDIO_NOT_FOUND, message="There is no recording.")
    with choose_display(as_json=False) as display:
        for progress in (0, 40):
            display.show("a.wav", progress_event(state=State.FAILED, stage=None, progress=progress, error=error))
    # Then a percentage is printed only for the latter
    failed = "failed: There is no recording. (audio_not_found)"
    assert capsys.readouterr().err.splitlines() == [f"a.wav: {failed}", f"a.wav: 40 %, {failed}"]


def test_live_audio_has_no_percentage(capsys: pytest.CaptureFixture[str]) -> None:
    # When a live task is watched without a terminal
    with choose_display(as_json=False, shown=ShownText.ALL) as display:
        for seconds in (9.0, 50.0, 61.0):
            live = {"progress": 0, "processed_seconds": seconds, "lag_seconds": 6.0}
            display.show("call", RUNNING.model_copy(update=live))
        display.show("call", SEGMENTS)
    # Then its text is printed, and its progress once per minute of audio
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [f"call: transcribing, {now} of audio, 0:06 behind" for now in ("0:15", "1:07")]
    assert printed.out.splitlines() == ["[0:00] [bold]Hello."]


@pytest.mark.parametrize("display_of", [PlainLines, ProgressBars])
@pytest.mark.parametrize(
    ("shown", "channel", "printed"),
    [
        (ShownText.ALL, None, "[0:00] [bold]Hello.\n"),
        (ShownText.ALL, 0, "[0:00] [bold]Hello.\n"),
        (ShownText.MIXED_CHANNELS, None, "[0:00] [bold]Hello.\n"),
        (ShownText.MIXED_CHANNELS, 0, ""),  # the result sorts all channels by time
    ],
)
def test_text_is_printed_without_markup_unless_the_result_has_it_in_order(
    capsys: pytest.CaptureFixture[str],
    display_of: type[PlainLines | ProgressBars],
    shown: ShownText,
    channel: int | None,
    printed: str,
) -> None:
    # When a display gets a segment of all channels, or of one channel
    with display_of(shown=shown) as display:
        display.show("a.wav", RUNNING)
        display.show("a.wav", SEGMENTS.model_copy(update={"channel": channel}))
    # Then standard output has its text unchanged, or nothing
    assert capsys.readouterr().out == printed


def test_json_lines_are_the_messages(capsys: pytest.CaptureFixture[str]) -> None:
    with choose_display(as_json=True) as display:
        assert isinstance(display, JsonLines)
        display.show("a.wav", RUNNING)
        display.show("a.wav", SEGMENTS)
    lines = capsys.readouterr().out.splitlines()
    assert [ProgressEvent.model_validate(json.loads(lines[0])), SegmentsEvent.model_validate(json.loads(lines[1]))] == [
        RUNNING,
        SEGMENTS,
    ]


def test_a_new_queue_position_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    # Given a waiting task
    with choose_display(as_json=False) as display:
        display.show("a.wav", RUNNING.model_copy(update={"state": State.QUEUED, "queue_position": 3, "progress": 0}))
        # When its position changes once
        for seconds in (90.9, 30):
            status = task_status(state=State.QUEUED, queue_position=2, seconds_ahead=seconds)
            display.update_position("a.wav", status)
    # Then the new position is printed once, with the audio ahead
    assert capsys.readouterr().err.splitlines() == [
        "a.wav: queued, position 3",
        "a.wav: queued, position 2, behind 1:30 of audio",
    ]


def test_the_time_that_is_left_is_shown_once_two_estimates_agree(capsys: pytest.CaptureFixture[str]) -> None:
    # Given estimates, the first of which is far off, and the second of which is the first again after a second
    estimates = [(10, 0, 90.0), (10, 1, 89.0), (20, 8, 40.0), (30, 13, 34.0), (40, 18, 60.0)]
    # When they arrive
    with choose_display(as_json=False) as display:
        for progress, second, eta in estimates:
            fields = {"progress": progress, "time": NOON + timedelta(seconds=second), "eta_seconds": eta}
            display.show("a.wav", RUNNING.model_copy(update=fields))
        # And an attempt starts anew
        fields = {"progress": 50, "attempt": 2, "eta_seconds": 30.0}
        display.show("a.wav", RUNNING.model_copy(update=fields))
    # Then an estimate is shown from the first one on that agrees with the one before
    shown = [line.partition(", about ")[2] for line in capsys.readouterr().err.splitlines()]
    assert shown == ["", "", "0:34 left", "1:00 left", ""]


def test_of_several_tasks_no_positions_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    # Given two waiting tasks, whose positions were found at different times, so that they contradict each other
    waiting = {"state": State.QUEUED, "queue_position": 3, "seconds_ahead": 90.0, "progress": 0}
    with choose_display(as_json=False, tasks=2) as display:
        for label in ("a.wav", "b.wav"):
            # When they are shown, and the position of one changes
            display.show(label, RUNNING.model_copy(update=waiting))
        display.update_position("b.wav", task_status(state=State.QUEUED, queue_position=2))
    # Then each only waits
    assert capsys.readouterr().err.splitlines() == ["a.wav: queued", "b.wav: queued"]


def test_errors_are_printed_whole_above_the_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a narrow terminal
    screen = Console(file=StringIO(), force_terminal=True, width=40, soft_wrap=True, highlight=False)
    for module in ("bars", "console"):
        monkeypatch.setattr(f"natscribe.cli.{module}.err", screen)
    message = "The recording is not there: " + "publish it first; " * 10 + "try again."
    error = ErrorDetail(code=ErrorCode.AUDIO_NOT_FOUND, message=message)
    with ProgressBars(shown=ShownText.NONE) as display:
        # When a task fails
        display.show("a.wav", RUNNING.model_copy(update={"state": State.FAILED, "error": error}))
    # Then the reason is not cut, and only the reason is red
    assert isinstance(screen.file, StringIO)
    written = screen.file.getvalue()
    assert f"a.wav: failed: {message} (audio_not_found)" in written
    assert written.count("\x1b[31m") == 1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """A terminal of 24 lines, without the codes that move its cursor."""
    written = StringIO()
    console = Console(file=written, force_terminal=True, width=80, height=24, color_system=None)
    monkeypatch.setattr(bars, "err", console)
    return written


def last_rows(written: StringIO) -> list[str]:
    """The text of the rows that were drawn last."""
    text = Text.from_ansi(written.getvalue().rpartition("\x1b[2K")[2]).plain
    return [" ".join(row.replace("━", "").split()) for row in text.splitlines()]


def test_an_upload_shows_both_sizes(screen: StringIO) -> None:
    # Given a recording of which a half is uploaded
    with ProgressBars(shown=ShownText.NONE) as display:
        display.upload("a.wav", 1_000_000, 2_000_000)
    assert last_rows(screen) == ["a.wav 50% uploading, 1.0 MB of 2.0 MB"]


def test_of_many_tasks_only_active_ones_are_shown(screen: StringIO) -> None:
    # Given more tasks than a terminal shows: one has ended, one is running and the others wait
    with ProgressBars(shown=ShownText.NONE, tasks=50) as display:
        waiting = RUNNING.model_copy(update={"state": State.QUEUED, "stage": None, "progress": 0})
        for number in range(50):
            display.show(f"{number}.wav", waiting)
        display.show("7.wav", RUNNING)
        display.show("8.wav", RUNNING)
        display.end("8.wav", failed=True)
    # Then the running one has a row, and the last row counts all
    assert last_rows(screen) == ["7.wav 11% transcribing", "all 50 files 2% 0 done, 1 failed"]


def test_shortened_names_that_start_alike_differ() -> None:
    names = {shortened(f"sense_and_sensibility_0{chapter}_austen_64kb-0{chapter}.flac", 24) for chapter in range(3)}
    assert len(names) == 3
    assert all(len(name) <= 24 for name in names)
    assert shortened("short.wav", 24) == "short.wav"


def test_text_that_the_result_will_repeat_is_shown_only_while_the_task_runs(
    screen: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    # When two segments arrive, and the result will be printed later
    with ProgressBars(shown=ShownText.LAST_SEGMENT) as display:
        display.show("a.wav", RUNNING)
        display.show("a.wav", segments_event(*SEGMENTS.segments, segment(9, "And\x1b more.")))
    # Then the last one is shown below the bar
    assert last_rows(screen) == ["a.wav 11% transcribing", r"[0:09] And\x1b more."]
    # And when the task ends, then it disappears, and was not printed
    with ProgressBars(shown=ShownText.LAST_SEGMENT) as display:
        display.show("a.wav", RUNNING)
        display.show("a.wav", SEGMENTS)
        display.end("a.wav", failed=False)
    assert last_rows(screen) == ["a.wav 11% transcribing"]
    # And where a line cannot be replaced, nothing is shown
    PlainLines(shown=ShownText.LAST_SEGMENT).show("a.wav", SEGMENTS)
    assert capsys.readouterr() == ("", "")
