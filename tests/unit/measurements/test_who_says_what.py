"""How conversations are scored: time and words under another speaker."""

import json
from pathlib import Path

import pytest

from tests.truth.attributed import by_the_turns, time_errors, word_errors
from tests.truth.conversations import Said, conversations_in

pytestmark = pytest.mark.xdist_group("pyannote")  # whose import takes two seconds

ANNA, BORIS = Said("anna", 0, 10, "good morning to you"), Said("boris", 10, 20, "Доброе утро!")
SAID = [ANNA, BORIS]


def test_names_of_speakers_do_not_count() -> None:
    # Given turns that are right, under names of their own
    errors = time_errors(SAID, [(0, 10, "SPEAKER_01"), (10, 20, "SPEAKER_00")], 20)
    # Then nothing is wrong, and the collar takes a quarter of a second on each side of each boundary of a turn
    assert (errors.wrong, errors.under_another) == (0, 0)
    assert [errors.speech, errors.scored] == pytest.approx([20, 19])


def test_one_speaker_for_two_is_half_of_the_time_wrong() -> None:
    errors = time_errors(SAID, [(0, 20, "one")], 20)
    assert (errors.missed, errors.invented, errors.confused) == (0, 0, 10)
    assert errors.under_another == pytest.approx(9.5)


def test_a_slightly_late_speaker_change_costs_no_time() -> None:
    errors = time_errors(SAID, [(0, 10.2, "one"), (10.2, 20, "two")], 20)
    assert errors.confused == pytest.approx(0.2)
    assert errors.under_another == 0


def test_words_under_the_right_names_are_right_whatever_the_names() -> None:
    hypothesis = [("SPEAKER_01", "Good morning, to you."), ("SPEAKER_00", "доброе утро")]
    errors = word_errors(SAID, hypothesis)
    assert (errors.words, errors.errors, errors.errors_with_speakers) == (6, 0, 0)


def test_words_under_one_name_are_wrong_for_the_other_person() -> None:
    # Given a perfect text, under one name
    errors = word_errors(SAID, [("one", "good morning to you доброе утро")])
    # Then the text alone has no error; the two words of the second person are missing there, and too many here
    assert (errors.errors, errors.errors_with_speakers) == (0, 4)


def test_words_without_a_name_and_no_words_at_all_are_counted() -> None:
    assert word_errors(SAID, [(None, "good morning to you"), ("two", "доброе утро")]).errors_with_speakers == 0
    assert word_errors(SAID, []).errors_with_speakers == 6


def test_people_who_begin_to_speak_are_compared_in_that_order() -> None:
    # Given a truth that is not in order of time
    errors = word_errors([BORIS, ANNA], [("one", "good morning to you"), ("two", "доброе утро")])
    assert errors.errors == 0


def test_a_word_goes_to_the_turn_that_covers_it_else_to_the_nearest() -> None:
    turns = [(0.0, 1.0, "one"), (2.0, 3.0, "two")]
    words = [(0.2, 0.5, "a"), (0.9, 1.1, "b"), (1.2, 1.3, "c"), (1.8, 1.9, "d"), (2.5, 4.0, "e")]
    assert [speaker for speaker, _ in by_the_turns(words, turns)] == ["one", "one", "one", "two", "two"]
    assert by_the_turns(words[:1], []) == [("", "a")]


def test_truths_are_read_in_both_formats(tmp_path: Path) -> None:
    # Given a truth with words, one with times, a recording without a truth, and one of which others know languages
    for name in ("a.wav", "b.ogg", "c.flac", "d.flac"):
        (tmp_path / name).touch()
    reference = [
        {"speaker": "anna", "start": 0.5, "end": 2, "words": "yes"},
        {"speaker": "boris", "start": 2, "end": 3},
    ]
    (tmp_path / "a.json").write_text(json.dumps(reference), encoding="utf-8")
    (tmp_path / "b.rttm").write_text("SPEAKER b 1 0.5 1.500 <NA> <NA> anna <NA> <NA>\n", encoding="utf-8")
    (tmp_path / "d.json").write_text('[["en", 0, 5]]', encoding="utf-8")
    # When the folder is searched
    first, second = conversations_in(tmp_path)
    # Then those with a truth are found
    assert (first.name, first.speakers, first.has_words) == ("a", 2, False)
    assert list(second.said) == [Said("anna", 0.5, 2.0)]
