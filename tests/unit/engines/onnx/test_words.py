from math import log

import pytest
from onnx_asr.asr import TimestampedResult

from app.engines.onnx.words import mean_logprob, words_of


def result_of(
    *tokens: str, times: list[float] | None = None, probabilities: list[float] | None = None
) -> TimestampedResult:
    logprobs = [log(p) for p in probabilities or [1.0] * len(tokens)]
    return TimestampedResult("", times, list(tokens), logprobs)


def test_pieces_of_words_are_joined() -> None:
    # Given tokens as Parakeet has them, where a blank begins a word
    result = result_of(" Good", " mor", "ning", ".", times=[0.2, 0.6, 0.8, 1.0], probabilities=[0.9, 0.8, 0.6, 1.0])

    # When they are joined
    words = words_of(result, 3.0, [])

    # Then each word has its blank, its time, and the mean of its tokens' probabilities
    assert [word.word for word in words] == [" Good", " morning."]
    assert [word.start for word in words] == [0.2, 0.6]
    assert [word.probability for word in words] == pytest.approx([0.9, 0.8])


def test_letters_are_joined_where_the_blank_is_a_token_of_its_own() -> None:
    # Given tokens as GigaAM and T-one have them
    result = result_of("д", "л", "я", " ", "в", "ы", times=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])

    # When they are joined, then the blank ends a word
    assert [(word.word, word.start) for word in words_of(result, 2.0, [])] == [(" для", 0.1), (" вы", 0.5)]


def test_a_word_ends_at_the_start_of_the_next_or_after_its_usual_length() -> None:
    # Given a word that is followed at once, one before a pause, and one at the very end
    result = result_of(" no", " way", " out", times=[0.5, 0.6, 2.9])

    # When they are timed
    ends = [word.end for word in words_of(result, 3.0, [])]

    # Then a pause is no part of a word, and no word is after the end
    assert ends == pytest.approx([0.6, 0.81, 3.0])


def test_a_mark_alone_belongs_to_the_word_before() -> None:
    # Given marks with blanks before them
    result = result_of(" да", " ", ",", " но", "<", " ?", times=[0.0, 0.1, 0.2, 0.3, 0.4, 0.5])

    # When they are joined, then no mark is a word
    assert [word.word for word in words_of(result, 1.0, [])] == [" да,", " но<?"]


def test_marks_alone_are_no_words() -> None:
    # Given marks and a token for unknown words, when they are joined, then there is no word
    assert words_of(result_of(".", " ", "<unk>", " -", times=[0.0, 0.1, 0.2, 0.3]), 1.0, []) == []


def test_no_tokens_are_no_words() -> None:
    # Given networks that found nothing, with and without times, then there is no word and no mean log probability
    assert words_of(result_of(times=[]), 1.0, []) == words_of(result_of(), 1.0, []) == []
    assert mean_logprob(result_of(times=[])) is None


def test_words_without_times_are_spread_over_the_speech() -> None:
    # Given Canary's words, which have no times, and a second of speech before and after a pause
    result = result_of(" one", " two", " six", " ten")

    # When they are timed
    words = words_of(result, 5.0, [(1.0, 2.0), (3.0, 4.0)])

    # Then each takes its share of the speech, and none lies in the pause
    assert [(word.start, word.end) for word in words] == [(1.0, 1.5), (1.5, 2.0), (3.0, 3.5), (3.5, 4.0)]


def test_a_word_without_a_time_does_not_last_over_a_pause() -> None:
    # Given three words of Canary, and speech before and after a pause that ends in the second word
    words = words_of(result_of(" one", " two", " six"), 10.0, [(0.0, 1.0), (5.0, 7.0)])

    # When they are timed, then that word is where the most of it would be
    assert [(word.start, word.end) for word in words] == [(0.0, 1.0), (5.0, 6.0), (6.0, 7.0)]
    words = words_of(result_of(" one", " two", " six"), 10.0, [(1.0, 2.2), (5.0, 6.8)])
    assert [word.start for word in words] == pytest.approx([1.0, 5.0, 5.8])
    assert [word.end for word in words] == pytest.approx([2.0, 5.8, 6.8])


def test_words_without_times_are_spread_over_all_where_speech_is_not_known() -> None:
    # Given words without times, of which the second has two thirds of the letters, when nothing is known of speech
    words = words_of(result_of(" one", " twelve"), 3.0, [])

    # Then they fill the audio
    assert [(word.start, word.end) for word in words] == [(0.0, 1.0), (1.0, 3.0)]


def test_there_is_a_probability_where_the_counts_differ() -> None:
    # Given Canary's probabilities, one of which is that of a token that the text leaves out
    result = TimestampedResult("", None, [" one", " two"], [log(0.5)] * 3)

    # When the words are joined, then each has the mean
    assert [word.probability for word in words_of(result, 1.0, [])] == pytest.approx([0.5, 0.5])
    assert mean_logprob(result) == pytest.approx(log(0.5))
