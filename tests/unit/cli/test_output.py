"""Results: in files, and on a terminal."""

from io import StringIO
from pathlib import Path

import pytest
import typer
from natscribe.cli.console import WARNING, Terminal, out
from natscribe.cli.output import NotWrittenError, Output, make_output
from natscribe.cli.turns import SPEAKER_COLOURS, turns_table, turns_text
from natscribe.schemas.requests import ResultFormat, SubtitleLimits
from natscribe.transcript_page import page
from rich.color import Color
from rich.console import Console

from tests.colours import contrast
from tests.unit.messages import result_of, segment


def test_turns_have_their_start_and_speaker() -> None:
    with_speakers = result_of(
        segment(0, "One."), segment(61, "Two.", "SPEAKER_00"), segment(62, "Three.", "SPEAKER_00")
    )
    assert turns_text(with_speakers) == "   0:00  (unknown)  One.\n   1:01  SPEAKER_00  Two. Three.\n"
    assert turns_text(result_of(segment(0, "One."), segment(61, "Two."))) == "   0:00  One.\n   1:01  Two.\n"


def test_long_turns_are_wrapped_between_words() -> None:
    # Given a narrow terminal
    screen = Console(file=StringIO(), width=40)
    screen.print(turns_table(result_of(segment(0, "[b]first second third fourth", "SPEAKER_00"))))
    # Then the text of a long turn stays in its column, without markup
    assert isinstance(screen.file, StringIO)
    assert [line.rstrip() for line in screen.file.getvalue().splitlines()] == [
        "   0:00  SPEAKER_00  [b]first second",
        "                     third fourth",
    ]


@pytest.mark.parametrize("style", sorted({*SPEAKER_COLOURS, WARNING}))
@pytest.mark.parametrize("background", [(0, 0, 0), (255, 255, 255)], ids=["black", "white"])
def test_colours_are_readable_on_black_and_on_white(style: str, background: tuple[int, int, int]) -> None:
    colour = Color.parse(style).get_truecolor()
    assert contrast(colour, background) > 4  # WCAG requires 3 for large text, 4.5 for small text


def test_a_file_is_replaced_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a folder with an earlier result, and a disk that is full
    output = Output((ResultFormat.TXT,), tmp_path)
    assert output.write("a", result_of(segment(0, "Earlier."))) == str(tmp_path / "a.txt")

    def half(file: Path, content: bytes) -> None:
        file.write_text(content.decode()[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    # When another result is written
    with pytest.raises(NotWrittenError, match=r"a.txt could not be written: No space left on device"):
        output.write("a", result_of(segment(0, "Later.")))
    # Then the earlier one stays, and nothing else is left
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "Earlier.\n")]


def test_a_page_has_a_relative_link_to_the_recording(tmp_path: Path) -> None:
    # Given a recording in another folder, with a name that an address cannot have as it is
    output = Output((ResultFormat.HTML, ResultFormat.TXT), tmp_path / "texts")
    (tmp_path / "texts").mkdir()
    output.write("a", result_of(segment(0, "One.")), tmp_path / "calls" / "a #1.flac")
    # Then the page has an encoded link, relative to its own folder
    written = (tmp_path / "texts" / "a.html").read_text(encoding="utf-8")
    assert '<audio controls preload="metadata" src="../calls/a%20%231.flac">' in written
    # And without a recording it has none
    output.write("b", result_of(segment(0, "One.")))
    assert "src=" not in (tmp_path / "texts" / "b.html").read_text(encoding="utf-8").partition("<script>")[0]


def test_a_printed_page_is_unchanged() -> None:
    # Given a screen that is narrower than a page's lines
    screen, result = Terminal(stderr=False), result_of(segment(0, "[b]One."))
    screen.file = StringIO()
    # When a page is printed there, then nothing of it is changed
    Output((ResultFormat.HTML,)).show(screen, result, label="a", heading=False)
    assert screen.file.getvalue() == page(result)


def test_a_page_is_not_printed_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "_force_terminal", True)
    with pytest.raises(typer.BadParameter, match=r"a page for a browser: add --output-dir FOLDER"):
        make_output([ResultFormat.HTML], None, SubtitleLimits())


def test_a_result_without_speech_is_reported(tmp_path: Path) -> None:
    # Given a result without speech, and one with some
    silent, spoken = result_of(), result_of(segment(0, "One."))
    output = Output((ResultFormat.TXT, ResultFormat.JSON), tmp_path)
    assert output.write("a", silent) == f"{tmp_path / 'a'}.txt and .json: no speech detected"
    assert output.write("b", spoken) == f"{tmp_path / 'b'}.txt and .json"
    # And so is a replaced file
    assert output.write("b", silent) == f"{tmp_path / 'b'}.txt and .json (replaced): no speech detected"
