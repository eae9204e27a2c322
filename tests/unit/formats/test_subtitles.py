"""Subtitles: how text is broken into cues and lines, and when those are shown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from natscribe.schemas.requests import SubtitleLimits
from natscribe.schemas.transcription import Segment, Word
from natscribe.subtitles import Cue, cues
from natscribe.subtitles.units import width

LIMITS = SubtitleLimits()
FULL = "We have looked at the figures once more, and they are better than they were."  # fills a cue
GAP = 0.08
TOLERANCE = 0.002


def segment_of(
    text: str, start: float, end: float, speaker: str | None = None, words: list[Word] | None = None
) -> Segment:
    return Segment(start=start, end=end, text=text, speaker=speaker, words=words, avg_logprob=-0.1, no_speech_prob=0.0)


def timed_segment(*words: tuple[str, float, float], speaker: str | None = None) -> Segment:
    timed_words = [Word(word=word, start=start, end=end, probability=0.9) for word, start, end in words]
    text = "".join(word for word, _, _ in words).strip()
    return segment_of(text, timed_words[0].start, timed_words[-1].end, speaker, timed_words)


def evenly(text: str, start: float, seconds_a_word: float, speaker: str | None = None) -> Segment:
    words = [
        (f" {word}", start + index * seconds_a_word, start + (index + 1) * seconds_a_word)
        for index, word in enumerate(text.split())
    ]
    return timed_segment(*words, speaker=speaker)


def shown(*segments: Segment, with_names: bool = False, **limits: float) -> list[Cue]:
    return cues(segments, SubtitleLimits.model_validate(limits), with_names=with_names)


def texts(subtitles: Sequence[Cue]) -> list[tuple[str, ...]]:
    return [cue.lines for cue in subtitles]


# Lines


def test_a_short_sentence_is_a_cue_of_one_line() -> None:
    assert shown(segment_of("Good morning.", 1, 3)) == [Cue(1, 3, ("Good morning.",), None)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("When you hear the tone, please leave a message.", ("When you hear the tone,", "please leave a message.")),
        (
            "They will be coming to the conference in a week or so.",
            ("They will be coming", "to the conference in a week or so."),
        ),
        (
            "I would like to speak with the operator right now.",
            ("I would like to speak", "with the operator right now."),
        ),
        ("Please hold the line while we try to connect you.", ("Please hold the line", "while we try to connect you.")),
        (
            "Нажмите один, чтобы позвонить абоненту, или решётку.",
            ("Нажмите один,", "чтобы позвонить абоненту, или решётку."),
        ),
        ("Marque el asterisco para regresar a las opciones.", ("Marque el asterisco", "para regresar a las opciones.")),
    ],
)
def test_a_line_ends_at_a_clause_and_not_with_a_word_that_belongs_to_the_next(
    text: str, lines: tuple[str, ...]
) -> None:
    assert texts(shown(evenly(text, 0, 0.5))) == [lines]


def test_a_long_sentence_is_cut_where_a_clause_ends() -> None:
    # Given a sentence too long for a cue, and a comma in its middle
    text = (
        "The conference of all the people who work here will be opened tomorrow morning, "
        "and those who cannot come to it may listen to a recording of it afterwards."
    )
    # When it is shown
    first, second = shown(evenly(text, 0, 0.4))
    # Then the comma ends the first cue
    assert first.lines[-1].endswith("morning,")
    assert second.lines[0].startswith("and those")


def test_a_sentence_end_is_a_better_break_than_full_lines() -> None:
    # Given two sentences of which the second would fit partly
    text = "The conference is now unmuted. No empty conferences currently exist. It is being recorded."
    # When they are shown, then each cue ends with a sentence
    assert all(cue.lines[-1].endswith(".") for cue in shown(evenly(text, 0, 0.4)))


def test_an_abbreviation_ends_no_sentence() -> None:
    # Given a title where a line could end, when it is shown, then the name stays with it
    ((first, _),) = texts(shown(evenly("Then we went to the house of Mr. Dashwood of Norland Park.", 0, 0.3)))
    assert not first.endswith("Mr.")


def test_a_word_is_not_cut_between_a_letter_and_its_accent() -> None:
    # Given a letter of two code points, of which a line would hold one
    (cue,) = shown(segment_of("a" * 19 + "e\u0301" + "a", 0, 5), max_line_chars=20)
    # When it is cut, then the letter stays whole
    assert cue.lines == ("a" * 19, "e\u0301a")


def test_languages_without_blanks_are_broken_between_characters_but_not_before_their_marks() -> None:
    # Given 23 characters, each twice as wide as a letter, with a comma behind the tenth
    text = "今日はとても良い天気で、みんなで公園に行きました。"
    # When they are shown in lines of 30 columns
    (cue,) = shown(segment_of(text, 0, 6), max_line_chars=30)
    # Then the comma ends a line
    assert cue.lines == ("今日はとても良い天気で、", "みんなで公園に行きました。")


@pytest.mark.parametrize("chars", range(20, 31))
@pytest.mark.parametrize(
    "text",
    [
        "今日はコンピューターについてゆっくり話します",
        "彼は「今日は雨だ」と静かに言いました",
        "とてもきれいなスーパーマーケットへ行った",
        "あっ" * 11,
        "「あ" * 11,
    ],
)
def test_no_line_begins_or_ends_with_what_japanese_forbids(text: str, chars: int) -> None:
    lines = [line for cue in shown(segment_of(text, 0, 6), max_line_chars=chars) for line in cue.lines]
    assert not any(line[0] in "ーっ」" or line[-1] == "「" for line in lines)
    assert not any(before[-1] in "コーパ" and after[0] in "ンマピ" for before, after in pairwise(lines))


@pytest.mark.parametrize("chars", range(20, 40))
def test_separate_punctuation_marks_stay_with_their_word(chars: int) -> None:
    # Given French, with blanks around its marks, when it is shown in lines of any length
    lines = [
        line for cue in shown(segment_of("mot « mot » mot " * 4, 0, 6), max_line_chars=chars) for line in cue.lines
    ]
    # Then no mark is at the wrong end of a line
    assert not any(line.endswith("«") or line.startswith("»") for line in lines)


# Speakers and pauses


def test_names_are_shown_when_the_speaker_changes_and_count_as_text() -> None:
    # Given two people, of whom one says two sentences
    segments = (
        segment_of("How do you do, and how is your family?", 0, 4, "SPEAKER_00"),
        segment_of("Very well.", 5.5, 7, "SPEAKER_01"),
        segment_of("Thank you.", 8.5, 10, "SPEAKER_01"),
    )
    # When they are shown with names
    subtitles = shown(*segments, with_names=True)
    # Then lines have room for the names
    assert texts(subtitles) == [
        ("SPEAKER_00: How do you do,", "and how is your family?"),
        ("SPEAKER_01: Very well.",),
        ("Thank you.",),
    ]


def test_a_name_has_its_own_line_if_no_word_fits_beside_it() -> None:
    (cue,) = shown(segment_of("Internationalisation", 0, 2, "SPEAKER_00"), with_names=True, max_line_chars=20)
    assert cue.lines == ("SPEAKER_00:", "Internationalisation")


def test_a_name_is_left_out_where_the_only_line_has_no_room_for_it() -> None:
    (cue,) = shown(
        segment_of("Internationalisation", 0, 2, "SPEAKER_00"), with_names=True, max_line_chars=20, max_lines=1
    )
    assert cue.lines == ("Internationalisation",)


@pytest.mark.parametrize(
    ("segment", "lines"),
    [
        pytest.param(timed_segment((" One,", 0, 0.5), (" two", 1.5, 2)), [("One,",), ("two",)], id="a second"),
        pytest.param(timed_segment((" One,", 0, 0.5), (" two", 0.9, 1.4)), [("One, two",)], id="less"),
        pytest.param(
            timed_segment((" I", 0, 0.3), (" bought", 0.3, 1), (" the", 1, 1.2), (" house.", 2.2, 3)),
            [("I bought the",), ("house.",)],
            id="where the text would not break",
        ),
        pytest.param(
            timed_segment((" a.", 0, 1.943), (" b", 2.943, 2.943)), [("a.",), ("b",)], id="not exact as binary"
        ),
    ],
)
def test_a_pause_of_a_second_ends_a_cue(segment: Segment, lines: list[tuple[str, ...]]) -> None:
    assert texts(shown(segment, max_cue_seconds=3)) == lines


TURN = evenly(f"{FULL} " * 3, 10, 0.4, "SPEAKER_00")
REALLY = [segment_of("Really?", at, at + 0.5, "SPEAKER_01") for at in (12.0, 18.0, 24.0)]


def test_a_word_of_another_speaker_comes_between_the_cues_of_a_turn() -> None:
    speakers = [cue.speaker for cue in shown(TURN, REALLY[1])]
    assert (speakers[0], speakers.count("SPEAKER_01"), speakers[-1]) == ("SPEAKER_00", 1, "SPEAKER_00")


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param([TURN, *REALLY], id="a turn that others interrupt"),
        pytest.param([segment_of("Well.", 2, 3, "SPEAKER_00"), TURN, *REALLY], id="the same behind a pause"),
        pytest.param([TURN, REALLY[0], evenly(FULL, 35, 0.3, "SPEAKER_01")], id="a turn behind one that interrupted"),
    ],
)
def test_each_cue_has_room_for_its_name_where_people_speak_at_once(segments: list[Segment]) -> None:
    # Given people who interrupt each other, when it is shown
    subtitles = shown(*segments, with_names=True)
    # Then each change of the speaker has a name
    assert len({cue.speaker for cue in subtitles}) == 2
    for before, after in pairwise(subtitles):
        assert after.lines[0].startswith("SPEAKER_") == (after.speaker != before.speaker)


# Times


@pytest.mark.parametrize(
    ("segments", "times"),
    [
        pytest.param([segment_of("Yes.", 2, 2.3)], [(2, 3)], id="a short cue stays on in the silence after it"),
        pytest.param([segment_of("x" * 42, 0, 1)], [(0, 2)], id="a fast cue stays on until it can be read"),
        pytest.param(
            [segment_of("It is late.", 0, 2), segment_of("We should go.", 2.8, 4.5)],
            [(0, 2), (2.8, 4.5)],
            id="a gap separates two sentences",
        ),
        pytest.param(
            [segment_of("It is late.", 0, 2, "SPEAKER_00"), segment_of("We should go.", 2.4, 4.5, "SPEAKER_01")],
            [(0, 2.32), (2.4, 4.5)],
            id="a gap that would flicker is closed",
        ),
    ],
)
def test_the_display_times(segments: list[Segment], times: list[tuple[float, float]]) -> None:
    assert [(round(cue.start, 3), round(cue.end, 3)) for cue in shown(*segments)] == times


def test_a_short_cue_starts_in_the_preceding_silence_if_another_speaker_follows_at_once() -> None:
    # Given a word of 0.6 s to which another speaker replies at once
    first, second = shown(segment_of("Yes.", 2, 2.6, "SPEAKER_00"), segment_of("I thought so.", 2.68, 5, "SPEAKER_01"))
    # When they are shown, then the first begins early and the second with its speech
    assert (first.start, first.end, second.start) == (1.6, 2.6, 2.68)


def test_a_cue_comes_late_where_the_one_before_could_not_be_read_else() -> None:
    # Given a word of .6 s at the very beginning, when it gets a reply at once, then it is shown for a second
    first, second = shown(segment_of("Yes.", 0, 0.6, "SPEAKER_00"), segment_of("I thought so.", 0.6, 5, "SPEAKER_01"))
    assert (first.start, first.end, second.start) == (0, 1, 1.08)


def test_a_cue_that_is_read_too_fast_takes_time_from_a_slow_one() -> None:
    # Given 40 characters in a second and a half, and a slow reply at once
    fast = segment_of("x" * 40, 0, 1.5, "SPEAKER_00")
    first, second = shown(fast, segment_of("Yes, indeed.", 1.5, 5, "SPEAKER_01"))
    # When they are shown, then the reply comes late enough for the first to be read
    assert first.end == pytest.approx(40 / 21, abs=0.001)
    assert second.start == pytest.approx(first.end + GAP, abs=0.001)


def test_a_fast_cue_takes_no_time_from_one_that_needs_it() -> None:
    fast = segment_of("x" * 40, 0, 1.5, "SPEAKER_00")
    first, second = shown(
        fast, segment_of("y" * 40, 1.5, 3.4, "SPEAKER_01"), segment_of("z" * 40, 3.4, 5, "SPEAKER_00")
    )[:2]
    assert first.end == pytest.approx(1.5 - GAP)
    assert second.start == 1.5


def test_a_short_word_is_joined_with_a_part_of_the_next_sentence() -> None:
    # Given a word of .3 s, and a sentence at once that fills a cue
    text = "Yes. The quick brown fox jumps over the lazy dog, and the dog runs after the brown fox."
    # When they are shown, then the word does not flash
    first, *_ = shown(evenly(text, 0, 0.3))
    assert first.lines[0].startswith("Yes. The quick")


def test_text_is_shown_as_long_as_it_is_spoken_though_cues_are_short() -> None:
    # Given ten seconds of speech
    subtitles = shown(evenly("and " * 19 + "so.", 0, 0.5), max_cue_seconds=4)
    # When cues are shown for at most four, then the next one takes over
    assert all(after.start - before.end <= GAP + TOLERANCE for before, after in pairwise(subtitles))
    assert subtitles[-1].end == 10


def test_without_words_the_text_is_spread_over_the_time() -> None:
    # Given 14 s of text without words
    text = "The first of these sentences is as long as the next. And the second sentence is as long as it."
    first, second = shown(segment_of(text, 10, 20))
    # When it is shown, then the second cue begins in the middle
    assert (first.start, second.end) == (10, 20)
    assert second.start == pytest.approx(15.5, abs=0.5)


def test_a_punctuation_mark_alone_is_no_speech() -> None:
    # Given a dash whose time the model puts behind a pause
    segment = timed_segment((" Moscow", 0.0, 0.6), (" —", 4.0, 4.2), (" capital.", 4.2, 5.0))
    # When it is shown, then the dash stays with its word and the pause ends the cue
    first, second = shown(segment)
    assert (first.lines, first.end, second.lines) == (("Moscow —",), 1.0, ("capital.",))


def test_more_text_than_anybody_can_read_is_still_shown_in_order() -> None:
    # Given what a model that repeats itself may give: 2,000 characters in a second
    subtitles = shown(segment_of("word " * 400, 0, 1), segment_of("Hello.", 1, 3))
    # When it is shown, then no cue is late by more than it must
    assert subtitles[-1].lines[-1].endswith("Hello.")
    assert subtitles[-1].start < 6


def test_no_speech_gives_no_cues() -> None:
    assert shown() == []
    assert shown(segment_of(" ", 0, 1)) == []


# Any words, any limits

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a machine may do other work, too

SPEAKERS = (None, "SPEAKER_00", "SPEAKER_01")
LETTERS = "aIbBжи。今日カー「」.,?—«»Eกำ"  # B and E are replaced by letters of two code points
SEVERAL = str.maketrans({"B": "bé", "E": "e\u0301"})


@dataclass(frozen=True)
class Speech:
    """A spoken word: the silence before, a word's text, whether a blank stands before it, its length."""

    silence: float
    text: str
    spaced: bool
    length: float


speech = st.builds(
    Speech,
    silence=st.sampled_from([0.0, 0.0, 0.1, 0.5, 0.99, 1.0, 3.0]),
    text=st.text(LETTERS, min_size=1, max_size=12).map(lambda text: text.translate(SEVERAL)) | st.just("so"),
    spaced=st.booleans(),
    length=st.floats(0, 2) | st.just(0.3),
)
turns = st.lists(
    st.tuples(st.sampled_from(SPEAKERS), st.lists(speech, min_size=1, max_size=25), st.floats(-3, 3)), max_size=6
)
all_limits = st.builds(
    SubtitleLimits, max_line_chars=st.integers(16, 100), max_lines=st.integers(1, 4), max_cue_seconds=st.floats(2, 60)
)


def segments_of(turns: list[tuple[str | None, list[Speech], float]], *, with_text: bool) -> list[Segment]:
    """Segments by time; two speakers may speak at once, but no speaker overlaps himself."""
    ends: dict[str | None, float] = {}
    start = 0.0
    result = []
    for speaker, spoken_words, shift in turns:
        now = start = max(ends.get(speaker, 0.0), start, max(ends.values(), default=0.0) + shift)
        words: list[tuple[str, float, float]] = []
        for speech in spoken_words:
            now += speech.silence if words else 0.0
            words.append((f" {speech.text}" if speech.spaced else speech.text, now, now + speech.length))
            now += speech.length
        ends[speaker] = now
        segment = timed_segment(*words, speaker=speaker)
        result.append(segment if with_text else segment.model_copy(update={"words": None}))
    return result


def letters(text: str) -> str:
    return "".join(text.split())


def by_speaker(speaker_texts: list[tuple[str | None, str]]) -> dict[str | None, str]:
    joined: dict[str | None, str] = {}
    for speaker, text in speaker_texts:
        joined[speaker] = joined.get(speaker, "") + letters(text)
    return joined


def without_name(cue: Cue) -> str:
    return re.sub(rf"^{cue.speaker}:( |$)", "", " ".join(cue.lines))


@unhurried
@given(turns, all_limits, st.booleans(), st.booleans())
def test_no_limit_is_ever_broken(
    turns: list[tuple[str | None, list[Speech], float]], limits: SubtitleLimits, with_text: bool, with_names: bool
) -> None:
    subtitles = cues(segments_of(turns, with_text=with_text), limits, with_names=with_names)
    for cue in subtitles:
        assert 1 <= len(cue.lines) <= limits.max_lines
        assert all(line == line.strip() and 0 < width(line) <= limits.max_line_chars for line in cue.lines)
        assert 0 < cue.end - cue.start <= limits.max_cue_seconds + TOLERANCE
    for before, after in pairwise(subtitles):
        assert after.start - before.end >= GAP - TOLERANCE
        assert before.end - before.start >= 1 - TOLERANCE or after.start - before.end <= GAP + TOLERANCE


@unhurried
@given(turns, all_limits, st.booleans(), st.booleans())
def test_every_word_is_shown_once_and_in_order(
    turns: list[tuple[str | None, list[Speech], float]], limits: SubtitleLimits, with_text: bool, with_names: bool
) -> None:
    segments = segments_of(turns, with_text=with_text)
    subtitles = cues(segments, limits, with_names=with_names)
    shown_by = by_speaker([(cue.speaker, without_name(cue)) for cue in subtitles])
    assert shown_by == by_speaker([(segment.speaker, segment.text) for segment in segments])


@unhurried
@given(st.lists(speech, min_size=1, max_size=40), all_limits)
def test_no_cue_holds_a_pause(spoken_words: list[Speech], limits: SubtitleLimits) -> None:
    (segment,) = segments_of([(None, spoken_words, 0.0)], with_text=True)
    # Given the positions in the text before which there is silence for a second
    words = segment.words or []
    pauses, position = set(), 0
    for before, after in pairwise(words):
        position += len(letters(before.word))
        if after.start - before.end >= 1 and after.word[0] == " " and is_spoken(before) and is_spoken(after):
            pauses.add(position)
    # When it is shown
    position, ends = 0, set()
    for cue in cues([segment], limits, with_names=False):
        position += len(letters(" ".join(cue.lines)))
        ends.add(position)
    # Then a cue ends at each of them
    assert pauses <= ends


def is_spoken(word: Word) -> bool:
    return any(character.isalnum() for character in word.word)
