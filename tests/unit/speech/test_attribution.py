import random

from natscribe.schemas.diarization import Turn
from natscribe.schemas.transcription import Segment, Word

from app.speech.attribution import attribute, labels_like

A, B = "SPEAKER_00", "SPEAKER_01"


def turn(start: float, end: float, speaker: str) -> Turn:
    return Turn(start=start, end=end, speaker=speaker)


def segment(*spoken: tuple[str, float, float]) -> Segment:
    words = [Word(start=start, end=end, word=word, probability=0.9) for word, start, end in spoken]
    return Segment(
        start=words[0].start,
        end=words[-1].end,
        text="".join(word.word for word in words).strip(),
        words=words,
        language="de",
        confidence=0.9,
    )


def texts_by_speaker(segments: list[Segment]) -> list[tuple[str | None, str]]:
    return [(part.speaker, part.text) for part in segments]


def test_a_segment_of_one_speaker_stays_whole() -> None:
    # Given a segment inside one turn
    spoken = segment((" Good", 1, 1.5), (" morning.", 1.5, 2))

    # When speakers are attributed, then it gets the speaker and nothing else changes
    assert attribute([spoken], [turn(0, 5, A), turn(5, 9, B)]) == [spoken.model_copy(update={"speaker": A})]


def test_a_change_of_speaker_cuts_a_segment() -> None:
    # Given a segment that two people share
    spoken = segment((" Ready?", 0, 1), (" Yes", 2, 2.4), (" I am.", 2.4, 3))

    # When speakers are attributed
    first, second = attribute([spoken], [turn(0, 1.5, A), turn(1.8, 3, B)])

    # Then each part has its speaker, words and times
    assert texts_by_speaker([first, second]) == [(A, "Ready?"), (B, "Yes I am.")]
    assert (first.start, first.end, second.start, second.end) == (0, 1, 2, 3)
    assert [word.word for word in second.words or []] == [" Yes", " I am."]


def test_each_part_of_a_segment_has_the_confidence_of_its_own_words() -> None:
    # Given a segment of which the first word is sure and the second is not
    spoken = segment((" Ready?", 0, 1), (" Yes.", 2, 3))
    sure, unsure = spoken.words or []
    spoken = spoken.model_copy(update={"words": [sure, unsure.model_copy(update={"probability": 0.3})]})

    # When it is cut between two speakers
    parts = attribute([spoken], [turn(0, 1.5, A), turn(1.8, 3, B)])

    # Then each part has the confidence of its words, and what else was known of the whole
    assert [part.confidence for part in parts] == [0.9, 0.3]
    assert [part.language for part in parts] == ["de", "de"]


def test_a_word_goes_to_whom_it_overlaps_most() -> None:
    # Given a word that reaches from one turn into the next, when attributed, then the longer part decides
    assert texts_by_speaker(attribute([segment((" Word", 1, 2))], [turn(0, 1.4, A), turn(1.4, 3, B)])) == [(B, "Word")]


def test_a_word_outside_all_turns_goes_to_the_nearest() -> None:
    # Given words before, between and after two turns
    turns = [turn(10, 20, A), turn(30, 40, B)]

    # When they are attributed, then each goes to the nearest
    assert texts_by_speaker(attribute([segment((" before", 0, 1))], turns)) == [(A, "before")]
    assert texts_by_speaker(attribute([segment((" near", 22, 23))], turns)) == [(A, "near")]
    assert texts_by_speaker(attribute([segment((" nearer", 28, 29))], turns)) == [(B, "nearer")]
    assert texts_by_speaker(attribute([segment((" after", 90, 91))], turns)) == [(B, "after")]
    # And so does one in a gap that is shorter than times may be wrong by
    assert texts_by_speaker(attribute([segment((" close", 20.1, 20.3))], [turn(10, 20, A), turn(20.55, 40, B)])) == [
        (A, "close")
    ]


def test_what_is_before_a_word_counts_as_much_as_what_is_behind_it() -> None:
    # Given a word and two turns at any times
    chance = random.Random(4)  # noqa: S311 -- no secret
    for _ in range(500):
        (one, two, three, four), (start, end) = (sorted(chance.uniform(0, 3) for _ in range(many)) for many in (4, 2))
        forwards = attribute([segment((" word", start, end))], [turn(one, two, A), turn(three, four, B)])
        # When time runs backwards, then the word has the same speaker
        turns = [turn(3 - four, 3 - three, B), turn(3 - two, 3 - one, A)]
        backwards = attribute([segment((" word", 3 - end, 3 - start))], turns)
        assert texts_by_speaker(forwards) == texts_by_speaker(backwards)


def test_a_long_turn_around_a_short_one_is_still_seen() -> None:
    # Given a long turn with two short ones inside it
    turns = [turn(0, 100, A), turn(10, 11, B), turn(50, 51, B)]

    # When a word late in the long one is attributed, then it goes there
    assert texts_by_speaker(attribute([segment((" late", 80, 81))], turns)) == [(A, "late")]


def test_without_turns_nobody_is_named() -> None:
    # Given no turns, when speakers are attributed, then there are none
    assert texts_by_speaker(attribute([segment((" Hello.", 0, 1))], [])) == [(None, "Hello.")]


def test_a_segment_without_words_goes_to_one_speaker() -> None:
    # Given a segment without words between others
    without = segment((" All", 1, 2), (" of it.", 2, 5)).model_copy(update={"words": None})
    spoken = [segment((" Well?", 0, 1)), without, segment((" Good.", 5, 6))]

    # When speakers are attributed, then most of it decides
    turns = [turn(0, 2, A), turn(2, 5, B), turn(5, 6, A)]
    assert texts_by_speaker(attribute(spoken, turns)) == [(A, "Well?"), (B, "All of it."), (A, "Good.")]


def test_a_word_that_takes_no_time_has_the_speaker_of_its_moment() -> None:
    assert texts_by_speaker(attribute([segment((" Oh", 5, 5))], [turn(0, 4, A), turn(4, 9, B)])) == [(B, "Oh")]


def test_the_first_word_of_a_sentence_is_not_left_with_the_speaker_before() -> None:
    # Given a sentence whose first word seems to begin before the turn of its speaker does
    spoken = [segment((" Wait.", 0, 1)), segment((" Press", 1.0, 1.35), (" one", 1.4, 1.8), (" now.", 1.8, 2.2))]

    # When speakers are attributed, then the sentence stays whole
    assert texts_by_speaker(attribute(spoken, [turn(0, 1.25, A), turn(1.25, 3, B)])) == [
        (A, "Wait."),
        (B, "Press one now."),
    ]


def test_the_last_word_of_a_sentence_is_not_given_to_the_speaker_after() -> None:
    # Given a sentence whose last word seems to end after the turn of its speaker did
    spoken = [segment((" Press", 0, 0.5), (" one", 0.5, 1.0), (" now.", 1.0, 1.4)), segment((" Why?", 1.5, 2.5))]

    # When speakers are attributed, then the sentence stays whole
    assert texts_by_speaker(attribute(spoken, [turn(0, 1.1, A), turn(1.1, 3, B)])) == [
        (A, "Press one now."),
        (B, "Why?"),
    ]


def test_an_interjection_has_its_own_speaker() -> None:
    # Given a word between pauses, in a turn of its own within a longer turn
    spoken = segment((" I", 0, 0.5), (" think", 0.5, 1.0), (" yes", 1.5, 1.9), (" so", 2.4, 3.0), (" too.", 3.0, 3.5))

    # When speakers are attributed, then it is not the longer turn's
    turns = [turn(0, 1.1, A), turn(1.45, 1.95, B), turn(2.35, 4, A)]
    assert texts_by_speaker(attribute([spoken], turns)) == [(A, "I think"), (B, "yes"), (A, "so too.")]


def test_a_change_within_a_sentence_is_believed_if_the_turns_are_clear() -> None:
    # Given a sentence that another finishes, without a pause
    words = [(f" word{n}", n * 0.4, n * 0.4 + 0.4) for n in range(12)]

    # When speakers are attributed, then each has their half
    first, second = attribute([segment(*words)], [turn(0, 2.4, A), turn(2.4, 4.8, B)])
    assert (first.speaker, second.speaker) == (A, B)
    assert abs(len(first.words or []) - 6) <= 1


def test_a_short_sentence_in_a_short_turn_keeps_its_speaker() -> None:
    # Given a word that fills a turn of its own between two long turns, without pauses
    spoken = [segment((" Ready?", 0, 0.45)), segment((" Yes.", 0.5, 0.7)), segment((" Good.", 0.8, 1.8))]

    # When speakers are attributed, then it is not theirs
    turns = [turn(0, 0.45, A), turn(0.45, 0.75, B), turn(0.75, 2, A)]
    assert texts_by_speaker(attribute(spoken, turns)) == [(A, "Ready?"), (B, "Yes."), (A, "Good.")]


def test_a_word_far_from_all_turns_goes_to_the_nearest_however_long_that_turn_is() -> None:
    # Given a long turn with a short one inside, and a word after both
    turns = [turn(0, 60, A), turn(10, 11, B)]
    assert texts_by_speaker(attribute([segment((" after", 71.5, 72))], turns)) == [(A, "after")]


def test_speakers_found_again_keep_the_labels_of_their_words() -> None:
    ann, bob, cyd, dan = (f"SPEAKER_1{number}" for number in range(4))
    # Given words with labels, and the same words attributed again
    spoken = segment(("one", 0, 1), ("two", 2, 3), ("three", 4, 5), ("four", 6, 7))
    before = attribute([spoken], [turn(0, 3, "SPEAKER_03"), turn(4, 7, "SPEAKER_01")])
    after = attribute([spoken], [turn(0, 3, bob), turn(4, 5, ann), turn(6, 7, cyd)])
    # Then most of the words of a speaker keep their label, and the others get unused labels
    assert labels_like(before, after, [bob, ann, cyd, dan]) == {
        bob: "SPEAKER_03",
        ann: "SPEAKER_01",
        cyd: "SPEAKER_00",
        dan: "SPEAKER_02",
    }
    # And without labels, they are numbered
    assert labels_like([spoken], after, [bob, ann, cyd]) == {bob: "SPEAKER_00", ann: "SPEAKER_01", cyd: "SPEAKER_02"}
