"""Live text in a terminal."""

import io

import pytest
from natscribe.cli import live_text
from natscribe.cli.console import Terminal
from natscribe.cli.display import ShownText
from natscribe.cli.live_text import LiveScreen
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.live import Partial
from natscribe.schemas.progress import State
from rich.text import Text

from tests.unit.messages import progress_event

WIDTH = 40
WORDS = "and the last words are what people want to read while others speak"
CHARACTERS = "今天我们来谈谈语音识别的实时处理以及为什么这件事情并不简单"  # two columns each


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is written to a narrow terminal."""
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    console = Terminal(stderr=True)
    console.file = written = io.StringIO()
    monkeypatch.setattr(live_text, "err", console)
    return written


def test_an_error_of_an_attempt_is_printed_once(written: io.StringIO) -> None:
    error = ErrorDetail(code=ErrorCode.ENGINE_FAILED, message="It failed.")
    with LiveScreen(shown=ShownText.ALL) as screen:
        for queue_position in (2, 1):
            screen.show("t1", progress_event(state=State.RETRYING, queue_position=queue_position, error=error))
    assert Text.from_ansi(written.getvalue()).plain.count("(engine_failed)") == 1


@pytest.mark.parametrize("spoken", [WORDS, CHARACTERS])
def test_the_last_words_of_a_partial_result_are_never_cut(spoken: str, written: io.StringIO) -> None:
    # When a partial result is longer than a line
    with LiveScreen(shown=ShownText.ALL) as screen:
        screen.show("t1", Partial(task_id="t1", start=0, end=9, stable=spoken[:9], text=spoken))
        drawn = Text.from_ansi(written.getvalue()).plain
    # Then its whole text is shown, in lines that fit
    lines = [line for line in drawn.splitlines() if line.strip()]
    assert "".join(spoken.split()) in "".join("".join(lines).split())
    assert all(Text(line).cell_len <= WIDTH for line in lines)
