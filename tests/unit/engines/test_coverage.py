import pytest
from natscribe.schemas.transcription import Word

from app.engines.text.coverage import gaps, spoken, word_times


def said(start: float, end: float) -> list[tuple[float, float]]:
    """Three words a second."""
    count = round((end - start) * 3)
    return [(start + number / 3, start + (number + 1) / 3) for number in range(count)]


def test_speech_that_has_words_has_no_gap() -> None:
    assert gaps(said(0.3, 9.7), [(0.0, 10.0)], 10.0) == []


def test_speech_behind_the_last_word_is_a_gap() -> None:
    (gap,) = gaps(said(0.3, 8.0), [(0.0, 20.0)], 20.0)
    assert list(gap) == pytest.approx([8.0, 20.0], abs=0.05)


def test_speech_before_the_first_word_is_a_gap() -> None:
    (gap,) = gaps(said(4.0, 9.7), [(0.0, 10.0)], 10.0)
    assert list(gap) == pytest.approx([0.0, 4.0], abs=0.05)


def test_a_sentence_left_out_in_the_middle_is_a_gap() -> None:
    (gap,) = gaps([*said(0.3, 3.0), *said(5.5, 9.7)], [(0.0, 3.2), (3.2, 5.4), (5.4, 10.0)], 10.0)
    assert list(gap) == pytest.approx([3.0, 5.5], abs=0.05)


def test_a_pause_between_words_is_none() -> None:
    # Given two sentences with a pause of a second between them, half of which lies in each region's padding
    assert gaps([*said(0.3, 3.0), *said(4.0, 9.7)], [(0.0, 3.3), (3.7, 10.0)], 10.0) == []


def test_silence_is_no_gap_however_long() -> None:
    assert gaps(said(0.3, 3.0), [(0.0, 3.3)], 20.0) == []


def word(start: float, end: float, text: str) -> Word:
    return Word(start=start, end=end, word=f" {text}", probability=0.9)


@pytest.mark.parametrize(("last", "gaps_left"), [("then", 1), ("29,340", 0)])
def test_a_word_hides_no_gap_unless_it_takes_as_long_to_say_it(last: str, gaps_left: int) -> None:
    # Given a word that seems to last for three seconds, which only a number of five digits can
    speech = [(0.0, 6.2)]
    times = [*said(0.3, 3.0), *word_times([word(3.0, 6.0, last)], speech)]
    assert len(gaps(times, speech, 6.2)) == gaps_left


def test_a_word_that_reaches_over_a_pause_hides_no_sentence_before_the_pause() -> None:
    # Given a sentence that was not transcribed, and the word behind the pause after it, which seems to begin with it
    speech = [(0.0, 3.2), (3.2, 5.8), (5.8, 8.0)]
    times = [*said(0.3, 3.0), *word_times([word(3.4, 6.4, "number"), word(6.4, 6.8, "was")], speech), *said(6.8, 7.8)]
    (gap,) = gaps(times, speech, 8.0)
    assert list(gap) == pytest.approx([3.0, 5.8], abs=0.05)


def test_words_are_timed_from_the_start_of_the_sound() -> None:
    # Given a sound that begins at second 100 of a recording, and a word of the recording
    assert word_times([word(101.0, 101.5, "one")], [(0.0, 3.0)], since=100.0) == [(1.0, 1.5)]


def test_words_found_later_count_wherever_they_stand_in_the_list() -> None:
    words = [*said(0.3, 3.0), *said(6.0, 9.7), *said(3.0, 6.0)]
    assert gaps(words, [(0.0, 10.0)], 10.0) == []


def test_of_a_region_the_padding_is_no_speech() -> None:
    assert spoken([(0.0, 1.0), (1.0, 3.0)], 0.0, 3.0) == pytest.approx(0.6 + 1.6)
