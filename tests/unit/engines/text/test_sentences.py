import pytest
from natscribe.schemas.transcription import Word

from app.engines.text.sentences import sentences, text_of


def words(*spoken: tuple[str, float, float]) -> list[Word]:
    return [Word(start=start, end=end, word=word, probability=0.9) for word, start, end in spoken]


def test_each_sentence_has_its_own_words() -> None:
    # Given two sentences
    spoken = words(
        (" He", 0.0, 0.5), (" was", 0.5, 1.0), (" there.", 1.0, 2.0), (" Then", 2.0, 2.4), (" he left.", 2.4, 4)
    )

    # When they are cut
    first, second = sentences(spoken)

    # Then each has its words, and a text that begins with no blank
    assert (first, second) == (spoken[:3], spoken[3:])
    assert (text_of(first), text_of(second)) == ("He was there.", "Then he left.")


@pytest.mark.parametrize(
    ("spoken", "cut"),
    [
        (words((" Mr.", 5.0, 5.4), (" Dashwood", 5.4, 6.0), (" left.", 6.0, 6.6)), ["Mr. Dashwood left."]),
        (words((" Well", 0.0, 0.8), (" then", 1.6, 2.0)), ["Well", "then"]),
        (words((" It was.", 5.0, 6.5), (" Then", 6.5, 7.0)), ["It was.", "Then"]),
        (words(("今日", 0.0, 1.0), ("は。", 1.0, 2.0), ("雨", 2.0, 3.0)), ["今日は。", "雨"]),
    ],
    ids=[
        "an abbreviation ends nothing",
        "a pause of .8 s does",
        "a full stop after 1.5 s does",
        "languages without spaces keep none",
    ],
)
def test_words_are_cut_where_a_sentence_ends(spoken: list[Word], cut: list[str]) -> None:
    assert [text_of(sentence) for sentence in sentences(spoken)] == cut


def test_a_long_sentence_is_cut_at_a_comma_and_at_last_anywhere() -> None:
    # Given a sentence of 30 s with a comma after 8 s
    spoken = words(*((" word," if at == 7 else " word", float(at), at + 1.0) for at in range(30)))

    # When it is cut
    cut = list(sentences(spoken))

    # Then at the comma first, and no part is longer than 14 s
    assert [part[-1].end - part[0].start for part in cut] == [8, 14, 8]
