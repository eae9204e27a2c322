"""The program that checks subtitles finds each kind of breach."""

import json
from pathlib import Path

import pytest

from tools import check_subtitles

RESULT = {
    "segments": [
        {
            "speaker": "SPEAKER_00",
            "text": "One two.",
            "start": 0.0,
            "end": 4.0,
            "words": [{"word": " One", "start": 0.0, "end": 1.0}, {"word": " two.", "start": 2.5, "end": 4.0}],
        },
        {"speaker": "SPEAKER_01", "text": "Three.", "start": 5.0, "end": 6.0, "words": None},
        {"speaker": "SPEAKER_00", "text": "Four.", "start": 6.5, "end": 7.5, "words": None},
    ]
}
GOOD = "0.0 1.2 SPEAKER_00: One\n2.5 4.0 two.\n5.0 6.0 SPEAKER_01: Three.\n6.5 7.5 SPEAKER_00: Four.\n"


def time(seconds: float) -> str:
    return f"00:00:{seconds:06.3f}".replace(".", ",")


def srt(short: str) -> str:
    blocks = [line.split(" ", 2) for line in short.splitlines()]
    return "\n".join(
        f"{number}\n{time(float(start))} --> {time(float(end))}\n{text.replace('|', chr(10))}\n"
        for number, (start, end, text) in enumerate(blocks, start=1)
    )


def breaches(folder: Path, text: str, result: object = None) -> set[str]:
    subtitles, result_file = folder / "a.srt", folder / "a.json"
    subtitles.write_text(text, encoding="utf-8")
    result_file.write_text(json.dumps(result), encoding="utf-8")
    limits = check_subtitles.Limits(
        result=result_file if result else None, max_line_chars=42, max_lines=2, max_cue_seconds=7.0
    )
    return set(check_subtitles.check(subtitles, limits)[1].broken)


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("0.0 4.0 a|b|c", {"lines"}),
        (f"0.0 4.0 {'a' * 43}", {"characters"}),
        (f"0.0 4.0 {'今' * 22}", {"characters"}),
        ("0.0 8.0 a", {"duration"}),
        ("4.0 4.0 a", {"duration", "short", "fast"}),
        ("0.0 3.0 a\n2.0 4.0 b", {"overlap"}),
        ("0.0 2.0 a\n2.04 4.0 b", {"gap"}),
        ("0.0 0.5 a\n3.0 4.0 b", {"short"}),
        ("0.0 1.0 this is too much for a second\n3.0 4.0 b", {"fast"}),
        ("0.0 0.5 a\n0.58 2.0 b", set()),  # there is no room for more
        ("0.0 1.0 this is too much for a second\n1.08 3.0 b", set()),
    ],
)
def test_a_broken_rule_is_named(tmp_path: Path, text: str, broken: set[str]) -> None:
    assert breaches(tmp_path, srt(text)) == broken


@pytest.mark.parametrize(
    ("good", "bad", "broken"),
    [
        ("two.", "two.", set()),
        ("two.", "too.", {"text"}),
        ("0.0 1.2 SPEAKER_00: One\n2.5 4.0 two.", "0.0 4.0 SPEAKER_00: One two.", {"pause"}),
        (
            "2.5 4.0 two.\n5.0 6.0 SPEAKER_01: Three.\n6.5 7.5 SPEAKER_00: Four.",
            "2.5 7.5 two. Four.",
            {"speakers", "pause", "text"},
        ),
        ("6.5 7.5", "10.5 12.5", {"astray"}),
    ],
)
def test_text_that_differs_from_the_speech_is_reported(tmp_path: Path, good: str, bad: str, broken: set[str]) -> None:
    assert good in GOOD
    assert breaches(tmp_path, srt(GOOD.replace(good, bad)), RESULT) == broken


def test_web_subtitles_are_read_too(tmp_path: Path) -> None:
    text = "WEBVTT\n\n00:00.000 --> 00:01.500\n<v SPEAKER_00>One &lt;b&gt;\n"
    (cue,) = check_subtitles.parse(text)
    assert (cue.start, cue.end, cue.lines, cue.speaker) == (0, 1.5, ["One <b>"], "SPEAKER_00")
    assert breaches(tmp_path, text) == set()


def test_the_exit_code_shows_breaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text, code in ((srt(GOOD), 0), (srt("0.0 9.0 a"), 1)):
        path = tmp_path / "a.srt"
        path.write_text(text, encoding="utf-8")
        monkeypatch.setattr("sys.argv", ["check_subtitles", str(path)])
        assert check_subtitles.main() == code
