"""The speakers of a live stream: their labels, also with separate channels, and how another process continues."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.audio.windows import FRAME, UnpackedWindow
from app.engines.diarization.chunk_analysis import EMBEDDING_SIZE, quantized
from app.engines.diarization.clustering import Floats
from app.engines.diarization.live_labels import LiveLabels
from app.engines.diarization.live_speakers import LiveSpeakers, speakers_of_channels
from app.engines.diarization.live_windows import SpeechWindow
from app.engines.diarization.networks import Networks
from app.engines.messages import LiveSpeakerOptions

SECONDS = 5  # of an utterance


class FakeNetworks:
    """Knows who speaks: the embeddings of one person are equal, those of two people are not similar."""

    person = 0

    def embed(self, _: Floats) -> Floats:
        direction: Floats = np.eye(EMBEDDING_SIZE, dtype=np.float32)[self.person]
        return direction


NETWORKS = FakeNetworks()


def channels(count: int, options: LiveSpeakerOptions | None = None) -> Sequence[LiveSpeakers]:
    return speakers_of_channels(cast("Networks", NETWORKS), options or LiveSpeakerOptions(), count)


def utterance(person: int, number: int = 0, seconds: float = SECONDS) -> UnpackedWindow:
    """The utterance with this number, in which this person speaks."""
    NETWORKS.person = person
    start, frames = number * (SECONDS + 1), round(seconds * SAMPLE_RATE / FRAME)
    samples = np.random.default_rng(7).normal(size=frames * FRAME).astype(np.float32)
    return UnpackedWindow([(start, start + seconds)], samples, np.full(frames, 0.9, np.float32))


def labels(speakers: LiveSpeakers) -> list[str]:
    return speakers.diarization(60).labels


def has_news(speakers: LiveSpeakers) -> bool:
    return speakers.has_news


def test_the_speakers_of_channels_have_labels_in_turn() -> None:
    # Given two channels, of which the first has two speakers
    first, second = channels(2)
    for number, person in enumerate((1, 2)):
        first.add(utterance(person, number))
    second.add(utterance(3))
    # Then the number of a label tells the channel, and each turn has the label of its speaker
    assert [labels(first), labels(second)] == [["SPEAKER_00", "SPEAKER_02"], ["SPEAKER_01"]]
    assert [turn.speaker for turn in first.diarization(60).turns] == ["SPEAKER_00", "SPEAKER_02"]
    # And new speakers get none of the labels that were taken before
    first, second = channels(2, LiveSpeakerOptions(labels=3))
    first.add(utterance(1))
    second.add(utterance(3))
    assert [labels(first), labels(second)] == [["SPEAKER_04"], ["SPEAKER_03"]]


@pytest.mark.parametrize(("most", "count"), [(None, 3), (3, 2), (2, 1), (1, 1)])
def test_all_channels_together_have_the_most_speakers_and_each_may_have_one(most: int | None, count: int) -> None:
    first, _ = channels(2, LiveSpeakerOptions(max_speakers=most))
    for number, person in enumerate((1, 2, 3)):
        first.add(utterance(person, number))
    assert len(labels(first)) == count


def test_the_speaker_changes_in_the_middle_of_two_windows() -> None:
    # Given two known people, whose speech was settled long ago
    live, second = LiveLabels(), SAMPLE_RATE
    ann, bob = (quantized(direction) for direction in np.eye(2, EMBEDDING_SIZE, dtype=np.float32))
    for number in range(20):
        values = ann if number < 10 else bob
        live.add([SpeechWindow(number * 2 * second, (number * 2 + 1) * second, values)])
    live.settle(290 * second)
    # When windows of both overlap by half, then each counts most in its middle
    live.add([SpeechWindow(300 * second, 302 * second, ann), SpeechWindow(301 * second, 303 * second, bob)])
    turns = [(start / second, end / second, label) for start, end, label in live.turns()]
    assert turns == [(300, pytest.approx(301.5, abs=0.1), 0), (pytest.approx(301.5, abs=0.1), 303, 1)]


def test_a_long_utterance_has_a_label_before_its_end() -> None:
    # Given an utterance in progress
    (speakers,) = channels(1)
    # Then it has no label while it is too short
    assert [speakers.open(utterance(1, seconds=seconds)) for seconds in (0.5, 2)] == [None, None]
    assert not has_news(speakers)
    assert speakers.open(utterance(1, seconds=3)) == "SPEAKER_00"
    assert has_news(speakers)
    # And it is labelled again only when it has grown by as much
    speakers.diarization(SECONDS)
    assert speakers.open(utterance(1, seconds=4)) == "SPEAKER_00"
    assert not has_news(speakers)
    # And a later one of this person has the label as soon as it has a window
    speakers.add(utterance(1))
    assert speakers.open(utterance(1, 1, seconds=2)) == "SPEAKER_00"


@pytest.mark.parametrize(
    ("known", "pause", "answer", "change"),
    [
        ((1, 2), 0.2, 2.0, True),
        ((1, 2), 0.2, 0.8, False),  # too short to know who it is
        ((1, 2), 0.0, 2.0, False),  # an end within a word would cost the word
        ((2,), 0.2, 2.0, False),  # nobody knows yet whether the first one is another person
        ((1,), 0.2, 2.0, False),
    ],
)
def test_a_change_of_the_speaker_is_noticed_in_a_pause(
    known: Sequence[int], pause: float, answer: float, *, change: bool
) -> None:
    # Given people who have spoken before
    (speakers,) = channels(1)
    for number, person in enumerate(known):
        speakers.add(utterance(person, number))
    # When somebody speaks for two seconds, while the other one answers
    begins, spoken = 2 * (SECONDS + 1), round(2 * SAMPLE_RATE / FRAME)
    silent = slice(spoken, spoken + round(pause * SAMPLE_RATE / FRAME))
    asked, answered = utterance(1, 2, seconds=2 + pause), utterance(2, 2, seconds=2 + pause + answer)
    asked.speech[silent] = answered.speech[silent] = 0
    NETWORKS.person = 1
    assert speakers.change(asked) is None
    NETWORKS.person = 2
    # Then the change is noticed if both are known, and have spoken long enough
    noticed = speakers.change(answered)
    assert noticed == (pytest.approx(begins + 2 + pause / 2, abs=0.1) if change else None)


def test_another_process_continues_with_the_labels() -> None:
    # Given the state of a stream with two speakers
    (speakers,) = channels(1)
    for number, person in enumerate((1, 2)):
        speakers.add(utterance(person, number))
    state = speakers.diarization(60).state
    # When another process continues, then the second one is known, unless another network has embedded the speech
    for continued, expected in ((state, 2), (f"another{state}", 1), ("", 1)):
        (speakers,) = channels(1, LiveSpeakerOptions(states=[continued]))
        assert has_news(speakers) == (expected == 2)  # even if nobody speaks again
        speakers.add(utterance(2, 2))
        assert len(labels(speakers)) == expected


@pytest.mark.parametrize("embed", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_speakers_that_are_compared_have_embeddings(count: int, embed: bool) -> None:
    speakers, *_ = channels(count, LiveSpeakerOptions(embed=embed))
    speakers.add(utterance(1))
    embeddings = speakers.diarization(SECONDS).embedded
    assert [item.speaker for item in (embeddings.speakers if embeddings else ())] == ["SPEAKER_00"] * embed
