import pytest
from natscribe.schemas.transcription import Word

from app.engines.audio.timeline import Times
from app.engines.text.coverage import find_gaps, speech_seconds, word_times


def words_between(start: float, end: float) -> list[Times]:
    """Three words a second."""
    count = round((end - start) * 3)
    return [(start + number / 3, start + (number + 1) / 3) for number in range(count)]


SPOKEN = [(0.0, 10.0)]
GAPS: dict[str, tuple[list[Times], list[Times], list[Times]]] = {
    "words everywhere": (words_between(0.3, 9.7), SPOKEN, []),
    "words found later": ([*words_between(0.3, 3.0), *words_between(6.0, 9.7), *words_between(3.0, 6.0)], SPOKEN, []),
    "silence": (words_between(0.3, 3.0), [(0.0, 3.3)], []),
    "half of a pause in each padding": (
        [*words_between(0.3, 3.0), *words_between(4.0, 9.7)],
        [(0.0, 3.3), (3.7, 10.0)],
        [],
    ),
    "1.5 s between words": ([(0.0, 1.6), (3.1, 9.9)], SPOKEN, []),
    "1.6 s between words": ([(0.0, 1.6), (3.2, 9.9)], SPOKEN, [(1.6, 3.2)]),
    "a sentence": (
        [*words_between(0.3, 3.0), *words_between(5.5, 9.7)],
        [(0.0, 3.2), (3.2, 5.4), (5.4, 10.0)],
        [(3.0, 5.5)],
    ),
    "a second of speech before the first word": ([(1.2, 9.9)], SPOKEN, [(0.0, 1.2)]),
    "a second of speech behind the last word": ([(0.0, 8.8)], SPOKEN, [(8.8, 10.0)]),
}


@pytest.mark.parametrize(("words", "speech", "gaps"), GAPS.values(), ids=GAPS)
def test_a_gap_is_speech_without_words(words: list[Times], speech: list[Times], gaps: list[Times]) -> None:
    assert find_gaps(words, speech, 10.0) == [pytest.approx(gap, abs=0.05) for gap in gaps]


def word(start: float, end: float, text: str) -> Word:
    return Word(start=start, end=end, word=f" {text}", probability=0.9)


@pytest.mark.parametrize(("last", "gaps_left"), [("then", 1), ("29,340", 0)])
def test_a_word_covers_no_more_time_than_it_takes_to_speak_it(last: str, gaps_left: int) -> None:
    # Given a word that seems to last for three seconds, which only a number of five digits can
    speech = [(0.0, 6.2)]
    times = [*words_between(0.3, 3.0), *word_times([word(3.0, 6.0, last)], speech)]
    assert len(find_gaps(times, speech, 6.2)) == gaps_left


def test_a_word_that_reaches_over_a_pause_hides_no_sentence_before_the_pause() -> None:
    # Given a sentence that was not transcribed, and the word behind the pause after it, which seems to begin with it
    speech = [(0.0, 3.2), (3.2, 5.8), (5.8, 8.0)]
    times = [
        *words_between(0.3, 3.0),
        *word_times([word(3.4, 6.4, "number"), word(6.4, 6.8, "was")], speech),
        *words_between(6.8, 7.8),
    ]
    (gap,) = find_gaps(times, speech, 8.0)
    assert list(gap) == pytest.approx([3.0, 5.8], abs=0.05)


def test_words_are_timed_from_the_start_of_the_audio() -> None:
    # Given audio that begins at second 100 of a recording, and a word that ends inexactly, just behind a pause
    assert word_times([word(101.0, 103.1, "29,340")], [(0.0, 3.0), (3.0, 5.0)], since=100.0) == [
        pytest.approx((1.0, 3.1))
    ]


def test_of_a_region_the_padding_is_no_speech() -> None:
    assert speech_seconds([(0.0, 1.0), (1.0, 3.0)], 0.0, 3.0) == pytest.approx(0.6 + 1.6)
