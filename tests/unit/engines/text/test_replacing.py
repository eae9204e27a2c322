"""The characters of a segment that are replaced, and its words with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from natscribe.schemas.transcription import Numbers, Segment, TranscribeOptions, Word

from app.engines.text.filters import filtered
from app.engines.text.numbers.lexicon import lexicon
from app.engines.text.replacing import Replacement, replaced, spoken_text
from app.engines.text.sentences import text_of
from app.engines.windows import WindowText

IN_DIGITS = TranscribeOptions(numbers=Numbers.DIGITS)


def spoken(*words: str, language: str | None = "en") -> Segment:
    """A segment with a word each second; the later a word, the less probable."""
    timed = [
        Word(start=number, end=number + 0.5, word=word, probability=1 - number / 100)
        for number, word in enumerate(words)
    ]
    return Segment(start=0, end=len(words) - 0.5, text=text_of(timed), words=timed, language=language, confidence=1.0)


def in_digits(segment: Segment, options: TranscribeOptions = IN_DIGITS) -> Segment:
    return filtered(WindowText(segments=[segment], end=30), options).segments[0]


def test_the_words_of_a_number_become_one_word() -> None:
    # Given a segment with a number of three words, between others
    segment = spoken(" About", " twenty", "-seven", " thousand,", " I", " think.")
    # When numbers are written in digits
    result = in_digits(segment)
    # Then the number is one word with the first start, the last end and the lowest probability
    assert result.text == "About 27000, I think."
    assert result.words is not None
    assert [word.word for word in result.words] == [" About", " 27000,", " I", " think."]
    number = result.words[1]
    assert (number.start, number.end, number.probability) == (1, 3.5, 0.97)
    # And the confidence is the mean of the words that are left
    assert result.confidence == pytest.approx((1 + 0.97 + 0.96 + 0.95) / 4)


def test_words_that_an_engine_joins_with_marks_become_one() -> None:
    segment = spoken(" Call", " 4", "-5", "-8", "-3", ".")
    result = in_digits(segment)
    assert [word.word for word in result.words or ()] == [" Call", " 4583", "."]


def test_two_numbers_of_one_word_are_replaced() -> None:
    segment = spoken(" ten", "...twenty", "!")
    assert in_digits(segment).text == "10...20!"


def test_a_segment_without_words_has_its_text_replaced() -> None:
    segment = spoken(" twelve").model_copy(update={"words": None, "text": "Twelve."})
    assert in_digits(segment).text == "12."


def test_numbers_are_as_they_are_without_the_option() -> None:
    segment = spoken(" twelve", " 4", "-5", "-8", "-3")
    assert in_digits(segment, TranscribeOptions()) == segment


@pytest.mark.parametrize(
    ("language", "word", "options", "expected"),
    [
        ("ru", " двенадцать", IN_DIGITS, "12"),
        (None, " twelve", IN_DIGITS, "twelve"),
        (None, " twelve", TranscribeOptions(numbers=Numbers.DIGITS, language="en"), "12"),
        ("fr", " twelve", TranscribeOptions(numbers=Numbers.DIGITS, translate=True), "12"),
    ],
)
def test_numbers_are_read_in_the_language_of_the_text(
    language: str | None, word: str, options: TranscribeOptions, expected: str
) -> None:
    assert in_digits(spoken(word, language=language), options).text == expected


@given(
    language=st.sampled_from(["en", "ru"]),
    words=st.lists(
        st.tuples(
            st.sampled_from([" ", "-", ", ", ""]),
            st.sampled_from(sorted({*lexicon("en").numerals, *lexicon("ru").numerals, "word", "5", "12", "double"}))
            | st.text(max_size=5),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_text_and_words_agree(language: str, words: list[tuple[str, str]]) -> None:
    # Given any words, when their numbers are written in digits
    segment = spoken(*(f"{mark}{word}" for mark, word in words), " end", language=language)
    result = in_digits(segment)
    # Then the text is that of the words, whose times are in order, and within the segment
    assert result.words is not None
    assert result.text == text_of(result.words)
    times = [time for word in result.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (0, segment.end)
    # And another time nothing changes
    assert in_digits(result) == result


def test_replacements_side_by_side_in_one_word() -> None:
    segment = spoken(" ab", "cd ef", " gh")
    changed = replaced(segment, [Replacement(1, 4, "X"), Replacement(4, 5, "Y"), Replacement(6, 8, "")])
    assert [word.word for word in changed.words or ()] == [" XY ", " gh"]
    assert spoken_text(changed) == " XY  gh"
