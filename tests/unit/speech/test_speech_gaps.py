from natscribe.schemas.diarization import Turn
from natscribe.schemas.transcription import Interval, Segment, Word

from app.speech.speech_gaps import add_speech_gaps


def turns(*times: tuple[float, float]) -> list[Turn]:
    return [Turn(start=start, end=end, speaker=f"SPEAKER_{n % 2:02}") for n, (start, end) in enumerate(times)]


def segment(*words: tuple[float, float], text: str = " word") -> Segment:
    spoken = [Word(start=start, end=end, word=text, probability=0.9) for start, end in words]
    return Segment(start=words[0][0], end=words[-1][1], text=text.strip(), words=spoken)


def gaps(segments: list[Segment], *times: tuple[float, float], listed: list[Interval] | None = None) -> list[Interval]:
    return add_speech_gaps(listed or [], segments, turns(*times))


def interval(start: float, end: float) -> Interval:
    return Interval(start=start, end=end)


def test_speech_of_a_speaker_without_a_word_is_listed() -> None:
    # Given a turn with words, and one without, when gaps are computed, then the second turn is listed
    assert gaps([segment((1, 1.5), (1.6, 2))], (1, 2), (20, 23)) == [interval(20, 23)]


def test_words_take_their_share_of_a_turn() -> None:
    # Given a long turn with words at its start and end, when gaps are computed, then the middle is listed
    assert gaps([segment((0, 0.7)), segment((8, 9))], (0, 9)) == [interval(1.0, 7.7)]


def test_a_moment_is_not_listed() -> None:
    # Given what times may be wrong by, and a cough, when gaps are computed, then nothing is listed
    assert gaps([segment((1, 2))], (0.5, 2.9), (20, 20.9)) == []


def test_a_word_that_lasts_too_long_hides_no_speech() -> None:
    # Given a word of six seconds, when gaps are computed, then it is only believed in part
    assert gaps([segment((0, 6))], (0, 6)) == [interval(1.8, 6)]

    # And a number of ten digits takes that long
    assert gaps([segment((0, 6), text=" 1234567890")], (0, 6)) == []


def test_nothing_is_listed_twice_or_overlaps() -> None:
    # Given speech that was listed before, a part of it twice, when gaps are computed
    listed = [interval(21, 24), interval(5, 7), interval(6, 8)]
    parts = gaps([], (20, 23), (22, 25), (5.5, 6.5), listed=listed)

    # Then each part is listed once, by time, with what is new
    assert parts == [interval(5, 8), interval(20, 25)]


def test_a_segment_without_words_counts_as_text() -> None:
    # Given a segment of a model that finds no words, when gaps are computed, then its turn has text
    assert gaps([segment((1, 4)).model_copy(update={"words": None})], (0, 5.2)) == []


def test_without_turns_what_was_listed_stays() -> None:
    assert gaps([], listed=[interval(1, 3)]) == [interval(1, 3)]
