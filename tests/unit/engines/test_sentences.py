from app.engines.sentences import segments
from schemas.transcription import Word


def words(*spoken: tuple[str, float, float]) -> list[Word]:
    return [Word(start=start, end=end, word=word, probability=0.9) for word, start, end in spoken]


def texts(spoken: list[Word]) -> list[str]:
    return [segment.text for segment in segments(spoken, -0.1, 0.05)]


def test_each_sentence_is_a_segment_with_its_own_times() -> None:
    # Given two sentences
    spoken = words(
        (" He", 0.0, 0.5), (" was", 0.5, 1.0), (" there.", 1.0, 2.0), (" Then", 2.0, 2.4), (" he left.", 2.4, 4)
    )

    # When they are cut
    first, second = segments(spoken, -0.1, 0.05)

    # Then each has its text, its times and its words
    assert (first.text, first.start, first.end) == ("He was there.", 0.0, 2.0)
    assert (second.text, second.start, second.end) == ("Then he left.", 2.0, 4.0)
    assert second.words == spoken[3:]


def test_an_abbreviation_at_the_start_ends_nothing() -> None:
    # Given a sentence that begins with an abbreviation, when it is cut, then it stays whole
    assert texts(words((" Mr.", 0.0, 0.4), (" Dashwood", 0.4, 1.0), (" left.", 1.0, 1.6))) == ["Mr. Dashwood left."]


def test_a_pause_ends_a_segment() -> None:
    # Given words with a second of silence between them, when they are cut, then there
    assert texts(words((" Well", 0.0, 0.4), (" then", 1.4, 1.8))) == ["Well", "then"]


def test_a_long_sentence_is_cut_at_a_comma_and_at_last_anywhere() -> None:
    # Given a sentence of 30 s with a comma after 9 s
    spoken = words(*((" word," if at == 8 else " word", float(at), at + 1.0) for at in range(30)))

    # When it is cut
    cut = segments(spoken, -0.1, 0.05)

    # Then at the comma first, and no segment is longer than 14 s
    assert cut[0].end == 9
    assert all(segment.end - segment.start <= 14 for segment in cut)
    assert sum(len(segment.words or []) for segment in cut) == 30


def test_languages_without_spaces_keep_none() -> None:
    # Given words that bring no spaces, when they are cut, then their marks count and no space is added
    assert texts(words(("今日", 0.0, 1.0), ("は。", 1.0, 2.0), ("雨", 2.0, 3.0))) == ["今日は。", "雨"]
