"""Live text in a terminal."""

import io
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest
from natscribe.cli import live_text
from natscribe.cli.console import Terminal
from natscribe.cli.display import ShownText
from natscribe.cli.live_text import KEPT_SEGMENTS, LiveScreen
from natscribe.client.live import Live
from natscribe.client.live_speakers import LiveSpeakers
from natscribe.schemas.diarization import Turn
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.live import Partial, SameSpeaker, SpeakersEvent
from natscribe.schemas.progress import State
from natscribe.schemas.transcription import Segment, SegmentsEvent, Word
from natscribe.schemas.voices import Voice
from rich.text import Text

from tests.unit.messages import progress_event, segments_event

WIDTH = 40
WORDS = "and the last words are what people want to read while others speak"
CHARACTERS = "今天我们来谈谈语音识别的实时处理以及为什么这件事情并不简单"  # two columns each


@pytest.fixture
def written() -> io.StringIO:
    """What is written to a narrow terminal."""
    return io.StringIO()


@pytest.fixture
def console(written: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """The narrow terminal."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    console = Terminal(stderr=True)
    console.file = written
    monkeypatch.setattr(live_text, "err", console)
    return console


@pytest.fixture
def live() -> Live:
    """A live task whose speakers have no voices."""

    async def voices() -> AsyncIterator[Voice]:
        for voice in list[Voice]():
            yield voice

    return cast("Live", SimpleNamespace(speakers=LiveSpeakers(voices)))


@pytest.mark.usefixtures("console")
def test_an_error_of_an_attempt_is_printed_once(written: io.StringIO, live: Live) -> None:
    error = ErrorDetail(code=ErrorCode.ENGINE_FAILED, message="It failed.")
    with LiveScreen(live, shown=ShownText.ALL, diarize=False) as screen:
        for queue_position in (2, 1):
            screen.show("t1", progress_event(state=State.RETRYING, queue_position=queue_position, error=error))
    assert Text.from_ansi(written.getvalue()).plain.count("(engine_failed)") == 1


@pytest.mark.usefixtures("console")
@pytest.mark.parametrize("spoken", [WORDS, CHARACTERS])
def test_the_last_words_of_a_partial_result_are_never_cut(spoken: str, written: io.StringIO, live: Live) -> None:
    # When a partial result is longer than a line
    with LiveScreen(live, shown=ShownText.ALL, diarize=False) as screen:
        screen.show("t1", Partial(task_id="t1", start=0, end=9, stable=spoken[:9], text=spoken))
        drawn = Text.from_ansi(written.getvalue()).plain
    # Then its whole text is shown, in lines that fit
    lines = [line for line in drawn.splitlines() if line.strip()]
    assert "".join(spoken.split()) in "".join("".join(lines).split())
    assert all(Text(line).cell_len <= WIDTH for line in lines)


@pytest.mark.usefixtures("console")
def test_a_partial_result_shows_who_is_probably_speaking(written: io.StringIO, live: Live) -> None:
    with LiveScreen(live, shown=ShownText.ALL, diarize=True) as screen:
        screen.show("t1", Partial(task_id="t1", start=0, end=1, stable="one", text="one two", speaker="SPEAKER_01"))
        assert "[0:00] SPEAKER_01: one two" in Text.from_ansi(written.getvalue()).plain


def spoken(number: int, text: str, speaker: str = "SPEAKER_00", words: list[Word] | None = None) -> SegmentsEvent:
    """The event of a line that is spoken in this second."""
    line = Segment(start=number, end=number + 1, text=text, speaker=speaker, words=words)
    return segments_event(line).model_copy(update={"sequence": number + 1, "processed_seconds": number + 1.0})


@pytest.mark.usefixtures("console")
async def test_a_line_gets_another_speaker_when_labels_merge(written: io.StringIO, live: Live) -> None:
    same = [SameSpeaker(speaker="SPEAKER_01", is_="SPEAKER_00")]
    merged = SpeakersEvent(task_id="t1", sequence=1, turns=[], same=same, voices={}, settled_until=0)
    with LiveScreen(live, shown=ShownText.ALL, diarize=True) as screen:

        async def show(event: SegmentsEvent | SpeakersEvent) -> None:
            await live.speakers.add(event)
            screen.show("t1", event)

        screen.text = Terminal(stderr=False)
        screen.text.file = above = io.StringIO()
        # Given lines on the screen, one of which has another speaker
        await show(spoken(0, "line 0"))
        await show(spoken(1, "line 1", "SPEAKER_01"))
        assert "SPEAKER_01: line 1" in Text.from_ansi(written.getvalue()).plain
        # When both labels are one person, and more is said than fits on the screen
        await show(merged)
        for number in range(2, 2 + KEPT_SEGMENTS):
            await show(spoken(number, f"line {number}"))
    # Then all lines are printed in order, each once, with the last known speaker
    assert [line.strip() for line in Text.from_ansi(above.getvalue()).plain.splitlines()] == [
        f"[0:0{number}] SPEAKER_00: line {number}" for number in range(2 + KEPT_SEGMENTS)
    ]
    assert screen.shown_segments == [f"line {number}" for number in range(2 + KEPT_SEGMENTS)]


@pytest.mark.usefixtures("console")
async def test_a_printed_line_whose_last_words_get_another_speaker_is_not_printed_again(live: Live) -> None:
    def two_words(number: int) -> SegmentsEvent:
        first = Word(start=number, end=number + 0.4, word=" a", probability=1)
        second = Word(start=number + 0.5, end=number + 1, word=" b", probability=1)
        return spoken(number, f"a b {number}", words=[first, second])

    other = [Turn(start=0.5, end=1, speaker="SPEAKER_01")]
    changed = SpeakersEvent(task_id="t1", sequence=1, turns=other, same=[], voices={}, settled_until=0)
    with LiveScreen(live, shown=ShownText.ALL, diarize=True) as screen:
        screen.text = Terminal(stderr=False)
        screen.text.file = io.StringIO()
        # Given more lines than remain in the area that can change, and then another speaker in the first one
        events: list[SegmentsEvent | SpeakersEvent] = [*map(two_words, range(KEPT_SEGMENTS + 1)), changed]
        for event in (*events, two_words(KEPT_SEGMENTS + 1)):
            await live.speakers.add(event)
            screen.show("t1", event)
    # Then each line is printed once
    assert screen.shown_segments == [f"a b {number}" for number in range(KEPT_SEGMENTS + 2)]
