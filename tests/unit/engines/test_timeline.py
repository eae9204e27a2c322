import pytest
from natscribe.schemas.transcription import Word

from app.engines.audio.timeline import Timeline, Times

PIECES = [(10.0, 12.0), (15.0, 18.0), (40.0, 41.0)]  # in the window: 0 to 2, 2 to 5, 5 to 6


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ((0.5, 1.0), (10.5, 11.0)),
        ((2.5, 3.5), (15.5, 16.5)),
        ((5.2, 5.8), (40.2, 40.8)),
        ((1.5, 2.1), (11.5, 12.0)),  # it ends inexactly
        ((1.9, 2.5), (15.0, 15.5)),  # over a cut it lies in the later piece
        ((1.6, 2.45), (15.0, 15.45)),  # it begins with the pause before it
        ((5.9, 7.0), (40.9, 41.0)),  # no word lies outside of the pieces
        ((0.0, 0.1), (10.0, 10.1)),
    ],
)
def test_a_word_is_where_its_piece_is(word: Times, expected: Times) -> None:
    moved = Timeline(PIECES).word(Word(start=word[0], end=word[1], word=" word", probability=1.0))
    assert (moved.start, moved.end) == expected


def test_a_time_has_a_part_in_each_piece_that_it_reaches_into() -> None:
    assert Timeline(PIECES).in_recording(1.0, 5.0) == [(11.0, 12.0), (15.0, 18.0)]


def test_speech_is_where_the_pieces_are_in_the_window() -> None:
    assert Timeline(PIECES).speech == [(0.0, 2.0), (2.0, 5.0), (5.0, 6.0)]


@pytest.mark.parametrize(
    ("word", "expected"),
    [((0.5, 1.0), (0.5, 1.0)), ((1.5, 2.1), (1.5, 2.1)), ((0.4, 2.5), (2.0, 2.5)), ((5.9, 7.0), (5.9, 7.0))],
)
def test_in_its_window_a_word_starts_in_the_piece_in_which_it_ends(word: Times, expected: Times) -> None:
    assert Timeline(PIECES).in_window(Word(start=word[0], end=word[1], word=" word", probability=1.0)) == expected
