from natscribe.schemas.transcription import Word

from app.engines.text.sentences import sentences, text_of


def words(*spoken: tuple[str, float, float]) -> list[Word]:
    return [Word(start=start, end=end, word=word, probability=0.9) for word, start, end in spoken]


def texts(spoken: list[Word]) -> list[str]:
    return [text_of(sentence) for sentence in sentences(spoken)]


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


def test_an_abbreviation_at_the_start_ends_nothing() -> None:
    # Given a sentence that begins with an abbreviation, when it is cut, then it stays whole
    assert texts(words((" Mr.", 0.0, 0.4), (" Dashwood", 0.4, 1.0), (" left.", 1.0, 1.6))) == ["Mr. Dashwood left."]


def test_a_pause_ends_a_sentence() -> None:
    # Given words with a second of silence between them, when they are cut, then there
    assert texts(words((" Well", 0.0, 0.4), (" then", 1.4, 1.8))) == ["Well", "then"]


def test_a_long_sentence_is_cut_at_a_comma_and_at_last_anywhere() -> None:
    # Given a sentence of 30 s with a comma after 9 s
    spoken = words(*((" word," if at == 8 else " word", float(at), at + 1.0) for at in range(30)))

    # When it is cut
    cut = list(sentences(spoken))

    # Then at the comma first, and no part is longer than 14 s
    assert cut[0][-1].end == 9
    assert all(part[-1].end - part[0].start <= 14 for part in cut)
    assert sum(map(len, cut)) == 30


def test_languages_without_spaces_keep_none() -> None:
    # Given words that bring no spaces, when they are cut, then their marks count and no space is added
    assert texts(words(("今日", 0.0, 1.0), ("は。", 1.0, 2.0), ("雨", 2.0, 3.0))) == ["今日は。", "雨"]
