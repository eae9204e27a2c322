"""The filters through which all text passes, and that nothing else takes text from the engine."""

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest
from natscribe.schemas.transcription import Segment, TranscribeOptions

import app
from app.engines.text import filters
from app.engines.windows import WindowText
from tests.fakes.engine import segment

PLAIN = TranscribeOptions()
ENGINE = {"messages.py", "engine.py", "recognition.py"}  # where the engine's replies are made


def shown(*segments: Segment, options: TranscribeOptions = PLAIN) -> list[str]:
    return [part.text for part in filters.filtered(WindowText(segments=list(segments), end=30), options).segments]


def test_a_punctuation_mark_alone_is_no_segment() -> None:
    assert shown(segment(0, "-"), segment(1, "word"), segment(2, "…"), segment(3, "5")) == ["word", "5"]


def test_segments_are_in_the_order_in_which_they_are_spoken() -> None:
    assert shown(segment(1, "world"), segment(0, "hello")) == ["hello", "world"]


def test_a_filter_gets_what_the_one_before_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given filters that write all in capitals, and leave out what is in small letters
    def capitals(segments: Iterable[Segment], _options: TranscribeOptions) -> list[Segment]:
        return [part.model_copy(update={"text": part.text.upper()}) for part in segments]

    def without_small_letters(segments: Iterable[Segment], _options: TranscribeOptions) -> list[Segment]:
        return [part for part in segments if not part.text.islower()]

    # When text passes both, then their order counts
    monkeypatch.setattr(filters, "FILTERS", [capitals, without_small_letters])
    assert shown(segment(0, "hello")) == ["HELLO"]
    monkeypatch.setattr(filters, "FILTERS", [without_small_letters, capitals])
    assert shown(segment(0, "hello")) == []


def test_a_filter_gets_the_options_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_language(segments: Iterable[Segment], options: TranscribeOptions) -> list[Segment]:
        return [part.model_copy(update={"text": f"{options.language}: {part.text}"}) for part in segments]

    monkeypatch.setattr(filters, "FILTERS", [in_language])
    assert shown(segment(0, "hello"), options=TranscribeOptions(language="en")) == ["en: hello"]


def test_only_the_window_queue_takes_text_from_the_engine() -> None:
    users = {
        path.name
        for path in Path(app.__file__).parent.rglob("*.py")
        if any(
            isinstance(node, ast.Name | ast.Attribute | ast.alias)
            and "WindowsTranscribed" in {getattr(node, name, None) for name in ("id", "attr", "name")}
            for node in ast.walk(ast.parse(path.read_text()))
        )
    }
    assert users - ENGINE == {"window_queue.py"}
