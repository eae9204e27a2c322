"""The page of a transcript, in a real browser: read, played, clicked, and full of hostile text."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from natscribe.schemas.transcription import Interval, Segment, Word
from natscribe.transcript_page import page

from app.engines.audio.mixing import SAMPLE_RATE
from tests.audio import silence, tone, wav
from tests.e2e.browser import NEEDS_CHROMIUM, driven_by, serving
from tests.unit.formats.test_transcript_page import HOSTILE, segment_of, talk, transcript

LONG_S = 3 * 3600
USABLE_WITHIN_S = 4.0  # a page of 30,000 words, beside other tests; alone it takes a third of a second
VISITS = ("desktop", "served", "phone", "unknown", "withoutScripts")

pytestmark = NEEDS_CHROMIUM


def spoken_segment(speaker: str, *words: tuple[float, float, str]) -> Segment:
    timed_words = [Word(start=start, end=end, word=f" {word}", probability=0.9) for start, end, word in words]
    text = " ".join(word for _, _, word in words)
    return segment_of(words[0][0], text, speaker, end=words[-1][1], words=timed_words)


HEARD = transcript(
    spoken_segment("SPEAKER_00", (0, 0.5, "one"), (0.5, 1, "two"), (1, 1.5, "three")),
    spoken_segment("SPEAKER_01", (3, 3.5, "four"), (3.5, 4.6, "five")),
    spoken_segment("SPEAKER_00", (3.6, 4, "six")),
    untranscribed=[Interval(start=2.2, end=2.8)],
    duration=6.0,
    speakers=2,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pages, beside a recording of six seconds and one of three hours."""
    (tmp_path / "a #1.wav").write_bytes(wav(tone(6)))
    with (tmp_path / "long.wav").open("wb") as file:  # of zeros, which take no space on the disk
        file.write(wav(silence(0), promised=LONG_S * 2 * SAMPLE_RATE))
        file.truncate(file.tell() + LONG_S * 2 * SAMPLE_RATE)
    strange = spoken_segment("SPEAKER_00", (0, 1, "x")).model_copy(
        update={
            "speaker": HOSTILE,
            "text": HOSTILE,
            "words": [Word(start=0, end=1, word=f" {HOSTILE}", probability=0.1)],
        }
    )
    written = {
        "heard": page(HEARD, "a%20%231.wav"),
        "unknown": page(HEARD),
        "gone": page(HEARD, "gone.wav"),
        "hostile": page(HEARD.model_copy(update={"segments": [strange], "audio_file_id": HOSTILE}), HOSTILE),
        "long": page(transcript(*talk(30_000), duration=float(LONG_S)), "long.wav"),
    }
    for name, text in written.items():
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def site(folder: Path) -> Iterator[str]:
    """The same pages on a web server."""
    with serving(folder) as address:
        yield address


def test_a_user_reads_and_plays_a_transcript(folder: Path, site: str) -> None:
    # Given pages with and without their recording, opened as files and from a web server, in a real browser
    observed = _browse(folder, site, *VISITS)
    # Then there are no errors, and no requests to another host
    assert observed["complaints"] == []
    inside = ("file:///", "blob:", "data:", "about:", site)  # `data:` are pictures of the browser's own player
    assert [url for url in observed["requested"] if not url.startswith(inside)] == []
    _check_desktop(observed["desktop"])
    assert observed["served"]["at"] == pytest.approx(0.75, abs=0.25)
    # And on a phone a tap plays, the word is in sight, and there is no horizontal scrolling
    phone = observed["phone"]
    assert (phone["lit"], phone["paused"], phone["isInSight"], phone["width"]) == (["two"], False, True, 390)
    assert phone["paper"] == "rgb(23, 24, 27)"
    # And a page without its recording prompts for it, and then plays it
    assert observed["unknown"] == {"asks": "Choose the recording to listen:", "lit": ["two"]}
    # And without scripts all text is there, and the recording plays
    assert observed["withoutScripts"]["text"] == ["one two three", "Not transcribed until 0:03", "four five", "six"]
    assert observed["withoutScripts"]["player"]


def _check_desktop(observed: dict[str, Any]) -> None:
    # Then at each time the word that is spoken is lit: two where two people speak, none in silence
    assert observed["litAt"] == {
        "0.2": ["one"],
        "0.7": ["two"],
        "1.1": ["three"],
        "2.5": ["Not transcribed until 0:03"],
        "3.2": ["four"],
        "3.8": ["five", "six"],
        "4.2": ["five"],
        "5.9": [],
    }
    # And a click on a word plays from there, and the light moves on
    assert (observed["clicked"]["lit"], observed["clicked"]["paused"]) == (["two"], False)
    assert observed["clicked"]["at"] == pytest.approx(0.5, abs=0.2)
    assert (observed["movedOn"]["lit"], observed["movedOn"]["at"]) == (["three"], pytest.approx(1, abs=0.2))
    # And the keys stop it, move by five seconds, and by paragraphs
    assert observed["stopped"]["paused"]
    assert observed["keys"] == pytest.approx([5.5, 0.5, 2.2, 3, 2.2], abs=0.02)
    # And a click on a time or on a speaker's lane plays from there
    assert observed["byTime"]["at"] == pytest.approx(3, abs=0.2)
    assert observed["byLane"]["at"] == pytest.approx(3, abs=0.2)
    assert (observed["byTime"]["paused"], observed["byLane"]["paused"]) == (False, False)
    # And there is no horizontal scrolling, and the player is not printed
    assert (observed["width"], observed["printed"]) == (1280, "none")


def test_a_page_whose_recording_is_missing_requests_it(folder: Path, site: str) -> None:
    # Given a page whose recording has been moved
    observed = _browse(folder, site, "gone")["gone"]
    # When its reader chooses the recording, then the page plays it
    assert observed == {"asks": "The recording cannot be played from its place. Choose it to listen:", "lit": ["two"]}


def test_hostile_text_stays_text_in_a_browser(folder: Path, site: str) -> None:
    # Given a page on which all text would be markup
    observed = _browse(folder, site, "hostile")["hostile"]
    # Then a browser shows it as it is, and runs none of it
    assert observed["names"] == [HOSTILE.rpartition("/")[2], HOSTILE]
    assert (observed["speaker"], observed["said"]) == (HOSTILE, HOSTILE)
    assert (observed["dialogs"], observed["scripts"]) == ([], 1)
    assert "img" not in observed["elements"]


def test_a_page_of_three_hours_is_quick(folder: Path, site: str) -> None:
    # Given a page of 30,000 words
    long = _browse(folder, site, "long")["long"]
    frames = f"{long['playing']:.0f} ms while it plays, {long['scrolling']:.0f} ms while it scrolls"
    print(f"usable after {long['usableAfter']:.2f} s, finds a word within {long['lightMs']:.3f} ms; a frame: {frames}")
    # Then it is there soon, and playing and scrolling are smooth
    assert long["usableAfter"] < USABLE_WITHIN_S
    assert long["lightMs"] < 1
    assert max(long["playing"], long["scrolling"]) < 50
    # And it scrolls along, until its reader scrolls, and again on request
    assert (long["isInSight"], long["leftAlone"], long["isBack"]) == (True, True, True)


def _browse(folder: Path, site: str, *parts: str) -> dict[str, Any]:
    addresses = {path.stem: path.as_uri() for path in folder.glob("*.html")}
    addresses |= {"served": f"{site}heard.html", "sound": str(folder / "a #1.wav")}
    return driven_by("listen.mjs", folder, json.dumps(addresses), *parts)
