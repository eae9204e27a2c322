"""A result as an HTML page: its content, and that no text in it becomes markup."""

import re
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import natscribe.transcript_page
import pytest
from natscribe.jetstream.large_results import HEADROOM_BYTES
from natscribe.schemas.diarization import DiarizationResult, Turn
from natscribe.schemas.transcription import Interval, Segment, TranscriptionResult, Word
from natscribe.schemas.wire import Model
from natscribe.transcript_page import page

from tests.colours import contrast

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&lt;"
MAX_PAYLOAD = 1024 * 1024  # of a NATS server, unless its operator chooses another one
KNOWN = {
    "task_id": "t1",
    "audio_file_id": "calls/t1-meeting.flac",
    "user_id": 1,
    "duration": 70.0,
    "model": Model(name="whisper-base", revision="d01c"),
    "audio_sha256": "0" * 64,
    "created_at": datetime(2026, 11, 24, 9, 30, tzinfo=UTC),
}
STYLE = (Path(natscribe.transcript_page.__file__).parent / "page.css").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a reader finds on a page: each element as its name, its attributes and its own text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = (tag, {name: value or "" for name, value in attrs}, list[str]())
        self.found.append(element)
        if tag not in {"meta", "input"}:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        for _, _, text in self.open:
            text.append(data)

    def all(self, tag: str, **expected_attributes: str) -> Iterator[tuple[dict[str, str], str]]:
        for name, attributes, text in self.found:
            if name == tag and expected_attributes.items() <= attributes.items():
                yield attributes, "".join(text)

    def texts(self, tag: str, **expected_attributes: str) -> list[str]:
        return [text for _, text in self.all(tag, **expected_attributes)]

    @property
    def paragraphs(self) -> list[tuple[dict[str, str], str]]:
        return [element for element in self.all("p") if "data-t" in element[0]]


def segment_of(start: float, text: str, speaker: object = None, language: object = "en", **more: object) -> Segment:
    fields = {"start": start, "end": start + 1.5, "text": text, "speaker": speaker, "language": language, **more}
    return Segment.model_validate(fields)


def transcript(*segments: Segment, **more: object) -> TranscriptionResult:
    text = " ".join(segment.text for segment in segments)
    fields = {"text": text, "language": "en", "segments": list(segments), **KNOWN, **more}
    return TranscriptionResult.model_validate(fields)


def test_a_page_describes_the_recording() -> None:
    # Given a transcript of two people in two languages
    result = transcript(
        segment_of(0, "Hello.", "SPEAKER_00"),
        segment_of(2, "Привет.", "SPEAKER_01", "ru"),
        languages={"en": 3, "ru": 1},
        speakers=2,
    )
    # When it is a page
    html = Page(page(result))
    # Then its head has the name, length, languages, speakers and date, and its end has the rest
    assert html.texts("title") == ["meeting.flac: transcript"]
    assert html.texts("h1") == ["meeting.flac"]
    facts = next(text for _, text in html.all("ul", **{"class": "facts"}))
    assert facts == "1:10en 75%, ru 25%2 speakers24 November 2026"
    terms = dict(zip(html.texts("dt"), html.texts("dd"), strict=True))
    assert terms["Model"] == "whisper-base, revision d01c"
    assert terms["Made"] == "24 November 2026, 09:30 UTC"
    assert terms["Recording"] == "calls/t1-meeting.flac"
    assert terms["SHA-256 of the recording"] == "0" * 64
    assert terms["Task"] == "t1"


def test_a_turn_has_its_speaker_once_and_paragraphs_at_pauses() -> None:
    # Given a speaker who pauses, and another one
    result = transcript(
        segment_of(0, "One.", "SPEAKER_00"),
        segment_of(1.6, "Two.", "SPEAKER_00"),
        segment_of(9, "Three.", "SPEAKER_00"),
        segment_of(61, "Four.", "SPEAKER_01"),
    )
    # When they are a page
    html = Page(page(result))
    # Then each turn is below its name, and a pause begins a paragraph with its own time
    assert html.texts("h2") == ["SPEAKER_00", "SPEAKER_01"]
    assert [text for _, text in html.paragraphs] == ["One. Two.", "Three.", "Four."]
    assert html.texts("time")[:3] == ["0:00", "0:09", "1:01"]
    # And the head has the labels that commands expect, and no other names; each has a colour of its own
    assert html.texts("b") == ["SPEAKER_00", "SPEAKER_01"]
    assert len(html.texts("div", **{"class": "turn s1"})) == len(html.texts("div", **{"class": "turn s2"})) == 1


def test_without_speakers_a_short_pause_starts_a_paragraph() -> None:
    # Given three sentences, with the pause of a reader and that of another person who answers
    starts = 0.0, 2.1, 4.5
    # When they have no speakers, and when they are those of one speaker
    pages = [
        Page(page(transcript(*(segment_of(start, f"From {start}.", speaker) for start in starts))))
        for speaker in (None, "SPEAKER_00")
    ]
    # Then the pause starts a paragraph only where no name says who speaks
    paragraphs = [[text for _, text in html.paragraphs] for html in pages]
    assert paragraphs == [["From 0.0. From 2.1.", "From 4.5."], ["From 0.0. From 2.1. From 4.5."]]


def test_a_long_turn_is_divided_at_the_ends_of_sentences() -> None:
    # Given a speaker who never pauses
    sentences = [segment_of(1.5 * number, f"This is sentence {number} of a long talk.") for number in range(300)]
    # When the talk is a page
    html = Page(page(transcript(*sentences)))
    # Then its paragraphs can be read, end with sentences, and a browser need not draw all of them
    lengths = [len(text) for _, text in html.paragraphs]
    assert 300 < min(lengths[:-1]) < max(lengths) < 600
    assert all(text.endswith(".") for _, text in html.paragraphs)
    assert len(html.texts("div", **{"class": "part"})) >= 3
    assert not html.texts("h2")


def test_untranscribed_speech_is_shown_in_order() -> None:
    # Given a part with speech but without text between two segments
    result = transcript(
        segment_of(0, "One."),
        segment_of(1.7, "Two."),
        segment_of(5, "Three."),
        untranscribed=[Interval(start=3.3, end=4.8)],
    )
    # When it is a page, then it says so there, and at the top
    html = Page(page(result))
    assert [text for _, text in html.paragraphs] == ["One. Two.", "Not transcribed until 0:05", "Three."]
    assert "Not transcribed: 0:03" in html.texts("p")
    # And the latter leads to the former
    assert [attributes["href"] for attributes, text in html.all("a") if text == "0:03"] == ["#gap1", "#p2"]
    assert html.texts("div", id="gap1")


def test_languages_are_marked_for_readers_and_browsers() -> None:
    # Given a recording with two languages
    result = transcript(
        segment_of(0, "One."),
        segment_of(2, "Два.", language="ru"),
        segment_of(4, "Три.", language="ru"),
        languages={"ru": 3, "en": 1.5},
    )
    # When it is a page
    html = Page(page(result))
    # Then each paragraph has its language, which is reported where it changes
    assert [(attributes["lang"], text) for attributes, text in html.paragraphs] == [
        ("en", "One."),
        ("ru", "Два. Три."),
    ]
    assert [attributes["data-language"] for attributes, _ in html.all("small") if "data-language" in attributes] == [
        "en",
        "ru",
    ]
    # And if there is only one, only the head has it
    alone = Page(page(transcript(segment_of(0, "One."), languages={"en": 1.5})))
    assert [text for attributes, text in alone.all("small") if "data-language" in attributes] == []


def test_words_are_marked_by_confidence() -> None:
    # Given words of which the model is more and less sure
    words = [
        Word(start=0, end=0.5, word=" Sure,", probability=0.99),
        Word(start=0.5, end=1, word=" unsure", probability=0.5),
        Word(start=1, end=1.5, word=" lost.", probability=0.2),
    ]
    html = Page(page(transcript(segment_of(0, "Sure, unsure lost.", words=words, confidence=0.56))))
    # When they are a page, then marks show it
    marks = [(attributes.get("class"), attributes.get("title"), text) for attributes, text in html.all("span")]
    assert marks[-4:-1] == [(None, None, "Sure,"), ("u", "50% sure", "unsure"), ("v", "20% sure", "lost.")]
    # And times are hundredths of a second, each since the one before
    assert [attributes["data-t"] for attributes, _ in html.paragraphs] == ["0 50 50 50"]


@pytest.mark.parametrize(
    "given",
    [{"confidence": 0.3}, {"avg_logprob": -1.4}, {"confidence": 0.3, "words": [], "avg_logprob": -0.1}],
    ids=["confidence", "log probability", "no words"],
)
def test_without_words_a_segment_is_marked_and_lit_as_a_whole(given: dict[str, object]) -> None:
    html = Page(page(transcript(segment_of(2, "Not heard well.", **given))))
    assert [text for attributes, text in html.all("span") if attributes.get("class") == "v"][1:] == ["Not heard well."]
    assert [attributes["data-t"] for attributes, _ in html.paragraphs] == ["200 150"]


def test_words_that_do_not_spell_the_text_are_not_shown() -> None:
    words = [Word(start=0, end=1, word=" other", probability=0.9)]
    assert [text for _, text in Page(page(transcript(segment_of(0, "The text.", words=words)))).paragraphs] == [
        "The text."
    ]


def test_words_that_overlap_are_lit_in_their_order() -> None:
    words = [
        Word(start=0, end=1.2, word=" one", probability=0.9),
        Word(start=1, end=1.4, word=" two", probability=0.9),
        Word(start=0.9, end=1.3, word=" three", probability=0.9),
    ]
    html = Page(page(transcript(segment_of(0, "one two three", words=words))))
    assert [attributes["data-t"] for attributes, _ in html.paragraphs] == ["0 100 0 40"]


def test_a_diarization_is_a_page_of_turns() -> None:
    turns = [Turn(start=0.5, end=2, speaker="SPEAKER_00"), Turn(start=1, end=66.2, speaker="SPEAKER_01")]
    html = Page(page(DiarizationResult.model_validate({**KNOWN, "speakers": 2, "segments": turns})))
    assert html.texts("title") == ["meeting.flac: speakers"]
    assert html.texts("h2") == ["SPEAKER_00", "SPEAKER_01"]
    assert [text for _, text in html.paragraphs] == ["speaks for 1.5 seconds", "speaks for 65.2 seconds"]
    assert [attributes["data-t"] for attributes, _ in html.paragraphs] == ["50 150", "100 6520"]


def test_a_page_without_speech_has_a_notice() -> None:
    assert "No speech detected." in Page(page(transcript(language=None))).texts("p")


def test_no_text_becomes_markup() -> None:
    # Given hostile text wherever the page has text
    result = transcript(segment_of(0, HOSTILE, None), segment_of(2, HOSTILE)).model_copy(
        update={"audio_file_id": HOSTILE, "task_id": HOSTILE, "model": Model(name=HOSTILE, revision=HOSTILE)}
        | {"audio_sha256": HOSTILE, "language": HOSTILE, "languages": {HOSTILE: 1.0, "en": 1.0}}
    )
    word = Word(start=0, end=1, word=f" {HOSTILE}", probability=0.1)
    segment = result.segments[0].model_copy(update={"speaker": HOSTILE, "language": HOSTILE, "words": [word]})
    # When it is a page
    written = page(result.model_copy(update={"segments": [segment]}), recording=HOSTILE)
    html = Page(written)
    # Then there is one script and no picture, and the text is there as it is
    assert written.count("<script>") == written.count("</script>") == 1
    assert "<img" not in written
    assert html.texts("h2") == [HOSTILE]
    assert [text for _, text in html.paragraphs] == [HOSTILE]
    assert [attributes["src"] for attributes, _ in html.all("audio")] == [HOSTILE]
    assert not [name for _, attributes, _ in html.found for name in attributes if name.startswith("on")]


def test_only_its_own_script_and_style_may_run() -> None:
    # Given a page
    html = Page(page(transcript(segment_of(0, "One."))))
    # When a browser reads its policy
    policy = next(attributes["content"] for attributes, _ in html.all("meta") if "http-equiv" in attributes)
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))

    def digest(tag: str) -> str:
        return f"'sha256-{b64encode(sha256(html.texts(tag)[0].encode()).digest()).decode()}'"

    # Then it allows its own script and style by their hashes, and nothing from elsewhere
    assert allowed["default-src"] == "'none'"
    assert allowed["script-src"] == digest("script")
    assert allowed["style-src"] == digest("style")
    assert not [name for _, attributes, _ in html.found for name in attributes.values() if "//" in name]
    assert not [name for _, attributes, _ in html.found for name in attributes if name == "style"]


def test_three_hours_fit_into_a_message() -> None:
    # Given three hours with 30,000 words of four people
    result = transcript(*talk(30_000), duration=3 * 3600.0)
    # When they are a page
    written = page(result).encode()
    # Then it is no larger than NATS allows
    print(f"a page of 30,000 words has {len(written):,} bytes")
    assert len(written) <= MAX_PAYLOAD - HEADROOM_BYTES
    # And its times have hours, so that they are aligned
    assert Page(written.decode()).texts("time")[0] == "0:00:00"


def talk(words: int) -> Iterator[Segment]:
    for number in range(words // 12):
        start, text = number * 4.3, "It was said that nobody would ever come to see the house"
        spoken = [_word(start + 0.3 * index, word) for index, word in enumerate(text.split())]
        yield segment_of(start, text, f"SPEAKER_{number // 5 % 4:02}", words=spoken, end=start + 3.8)


def _word(start: float, word: str) -> Word:
    """A word; the model is unsure of one in twelve, as in noisy recordings."""
    return Word(start=start, end=start + 0.25, word=f" {word}", probability=0.5 if word == "ever" else 0.9)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_colour_can_be_read(scheme: str) -> None:
    # Given the colours of a scheme
    blocks = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    written = re.findall(r"--(\w+): #([0-9a-f]{6})", blocks[scheme == "dark"])
    colours = {name: bytes.fromhex(colour) for name, colour in written}
    # Then text has the contrast that WCAG 2 wants of small text, on the page and on what is lit
    for name in ("ink", "muted", "doubt", *(f"s{number}" for number in range(9))):
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    assert contrast(colours["ink"], colours["lit"]) >= 4.5
    assert contrast(colours["ink"], colours["raised"]) >= 4.5
    assert len({colours[f"s{number}"] for number in range(9)}) == 9
