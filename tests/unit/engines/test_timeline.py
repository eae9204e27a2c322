from natscribe.schemas.transcription import Word

from app.engines.audio.timeline import Timeline

PIECES = [(10.0, 12.0), (15.0, 18.0), (40.0, 41.0)]  # in the window: 0 to 2, 2 to 5, 5 to 6


def placed(start: float, end: float) -> tuple[float, float]:
    word = Timeline(PIECES).word(Word(start=start, end=end, word=" word", probability=1.0))
    return word.start, word.end


def test_a_word_is_where_its_piece_is() -> None:
    assert placed(0.5, 1.0) == (10.5, 11.0)
    assert placed(2.5, 3.5) == (15.5, 16.5)
    assert placed(5.2, 5.8) == (40.2, 40.8)


def test_a_word_over_a_cut_lies_in_the_later_piece_if_some_of_it_does() -> None:
    assert placed(1.5, 2.1) == (11.5, 12.0)
    assert placed(1.9, 2.5) == (15.0, 15.5)


def test_a_word_that_begins_with_the_pause_before_it_lies_behind_the_pause() -> None:
    # Given a word that reaches from the silence at a piece's end into the next piece
    assert placed(1.6, 2.45) == (15.0, 15.45)


def test_no_word_lies_outside_of_the_pieces() -> None:
    assert placed(5.9, 7.0) == (40.9, 41.0)
    assert placed(0.0, 0.1) == (10.0, 10.1)


def test_speech_is_where_the_pieces_are_in_the_window() -> None:
    assert Timeline(PIECES).speech == [(0.0, 2.0), (2.0, 5.0), (5.0, 6.0)]
