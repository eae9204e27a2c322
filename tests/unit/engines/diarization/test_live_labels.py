"""The labels of the speakers of a live stream, from synthetic embeddings."""

import io
from collections.abc import Sequence

import numpy as np
import pytest

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.chunk_analysis import EMBEDDING_SIZE, quantized
from app.engines.diarization.clustering import Floats
from app.engines.diarization.live_labels import LiveLabels
from app.engines.diarization.live_windows import SpeechWindow

WINDOW_S, STEP_S, PAUSE_S = 1.5, 0.75, 1.0
AXES = np.linalg.eigh(VOICE_NETWORK.whitening)[1].T  # whitening scales down the first ones most


class Conversation:
    """Synthetic speech: embeddings of one person are similar, those of two people are not."""

    def __init__(self, labels: LiveLabels, *, from_telephone: bool = False) -> None:
        self.labels = labels
        self.from_telephone = from_telephone
        self.now = 0.0
        self.said: list[tuple[float, float, str]] = []
        self._noise = np.random.default_rng(7)

    def speak(self, person: str, seconds: float) -> None:
        """Add an utterance of one person, after a pause."""
        start = self.now + PAUSE_S
        self.now = start + seconds
        self.said.append((start, self.now, person))
        times = np.arange(start, max(self.now - WINDOW_S, start) + 0.01, STEP_S)
        self.labels.add([self._window(float(at), min(float(at) + WINDOW_S, self.now), person) for at in times])

    def label_at(self, second: float) -> int | None:
        """The label at a time, None if no known speaker speaks."""
        at = second * SAMPLE_RATE
        return next((label for start, end, label in self.labels.turns() if start <= at < end), None)

    def labels_of(self, intervals: Sequence[tuple[float, float, str]]) -> list[int | None]:
        """The labels in the middle of these utterances."""
        return [self.label_at((start + end) / 2) for start, end, _ in intervals]

    def _window(self, start: float, end: float, person: str) -> SpeechWindow:
        first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        return SpeechWindow(first, last, quantized(self.values(person)), from_telephone=self.from_telephone)

    def values(self, person: str) -> Floats:
        """A further embedding of a person."""
        towards = np.random.default_rng(sum(person.encode())).normal(size=EMBEDDING_SIZE)
        values = towards / np.linalg.norm(towards) + self._noise.normal(scale=0.04, size=EMBEDDING_SIZE)
        return values.astype(np.float32)


@pytest.fixture
def conversation() -> Conversation:
    return Conversation(LiveLabels())


def test_each_person_gets_a_label_in_the_order_of_appearance(conversation: Conversation) -> None:
    for person in ("ann", "bob", "ann", "cyd", "bob"):
        conversation.speak(person, 4)
    assert conversation.labels_of(conversation.said) == [0, 1, 0, 2, 1]
    assert conversation.labels.merged == {}


def test_speech_that_resembles_nobody_has_no_label(conversation: Conversation) -> None:
    conversation.speak("ann", 60)
    # When a stranger says too little to count as a speaker
    conversation.speak("bob", 0.5)
    assert conversation.labels_of(conversation.said) == [0, None]
    # Then the label follows once there is more of it
    conversation.speak("bob", 5)
    assert conversation.labels_of(conversation.said) == [0, 1, 1]


def test_the_nearest_speaker_of_speech_is_one_with_a_label(conversation: Conversation) -> None:
    def nearest(person: str) -> int | None:
        return conversation.labels.nearest(SpeechWindow(0, 24_000, quantized(conversation.values(person))))

    # Given nobody, then somebody with a label, and then a stranger who has said too little for a label
    assert nearest("ann") is None
    conversation.speak("ann", 60)
    assert (nearest("ann"), nearest("bob")) == (0, None)
    conversation.speak("bob", 0.5)
    # Then only the first of the two is recognized, until the second has said more
    assert (nearest("ann"), nearest("bob")) == (0, None)
    conversation.speak("bob", 5)
    assert (nearest("ann"), nearest("bob")) == (0, 1)


def test_the_embeddings_of_a_label_are_those_of_its_speech(conversation: Conversation) -> None:
    # Given somebody who has spoken for two minutes and more, and a stranger without a label
    conversation.speak("ann", 200)
    conversation.speak("bob", 0.5)
    # Then the first has an embedding, of so many seconds
    (ann,) = conversation.labels.embeddings()
    assert ann.label == 0
    assert ann.seconds == pytest.approx(200, abs=5)
    spoken = conversation.values("ann")
    assert spoken @ ann.mean > 0.8 * np.linalg.norm(spoken) * np.linalg.norm(ann.mean)


def test_whoever_returns_after_an_hour_has_the_old_label(conversation: Conversation) -> None:
    conversation.speak("ann", 10)
    conversation.speak("bob", 10)
    for _ in range(360):
        conversation.speak("cyd", 10)
    assert conversation.labels.settled_until > 3400 * SAMPLE_RATE
    size = len(conversation.labels.pack())
    # When those who spoke an hour ago speak again
    conversation.speak("bob", 3)
    conversation.speak("ann", 3)
    # Then they have their labels, and no more had to be remembered
    assert conversation.labels_of(conversation.said[-3:]) == [2, 1, 0]
    assert len(conversation.labels.pack()) == pytest.approx(size, rel=0.1)


@pytest.mark.parametrize("after", [1, 40])
def test_another_process_continues_with_the_same_labels(conversation: Conversation, after: int) -> None:
    for _ in range(after):
        conversation.speak("ann", 4)
        conversation.speak("bob", 4)
    # When another process restores the state
    before, packed = conversation.labels.turns(), conversation.labels.pack()
    conversation.labels = LiveLabels()
    conversation.labels.restore(packed)
    assert conversation.labels.turns() == before
    # Then everybody keeps the label
    for person in ("bob", "cyd", "ann"):
        conversation.speak(person, 4)
    assert conversation.labels_of(conversation.said[-3:]) == [1, 2, 0]


def test_the_state_of_another_version_is_refused(conversation: Conversation) -> None:
    # Given a state whose windows have a field less
    conversation.speak("ann", 4)
    with np.load(io.BytesIO(conversation.labels.pack())) as packed:
        content = dict(packed)
    names = list(content["windows"].dtype.names or ())
    older = io.BytesIO()
    np.savez(older, **{**content, "windows": content["windows"][names[:-1]]})
    # Then it is not restored, and the labels are as before
    with pytest.raises(ValueError, match="another version"):
        conversation.labels.restore(older.getvalue())
    assert conversation.labels_of(conversation.said) == [0]


def test_without_a_state_nobody_gets_the_label_of_another() -> None:
    # Given that two labels are taken, and that it is not known by whom
    conversation = Conversation(LiveLabels(labels=2))
    conversation.speak("ann", 4)
    assert conversation.labels_of(conversation.said) == [2]
    assert [item.label for item in conversation.labels.embeddings()] == [2]


def test_too_little_speech_for_a_label_is_forgotten_after_two_minutes(conversation: Conversation) -> None:
    # Given somebody who says too little for a label, and again after a long silence
    conversation.speak("ann", 0.5)
    conversation.now += 150
    conversation.speak("ann", 0.5)
    assert conversation.labels.labels == []
    # Then nobody has a label yet, and whoever says more gets the first one
    conversation.speak("bob", 5)
    assert conversation.labels.labels == [0]


def test_silence_settles_what_was_said(conversation: Conversation) -> None:
    conversation.speak("ann", 10)
    conversation.labels.settle(round(300 * SAMPLE_RATE))
    assert (conversation.labels.settled_until, conversation.labels.turns()) == (180 * SAMPLE_RATE, [])
    # And whoever goes on after it has the old label
    conversation.now = 300
    conversation.speak("ann", 5)
    assert conversation.labels_of(conversation.said[-1:]) == [0]


def test_windows_that_are_known_are_added_once(conversation: Conversation) -> None:
    # When a part of an utterance is added before the whole one
    windows = [
        SpeechWindow(at, at + 24_000, quantized(conversation.values("ann"))) for at in range(0, 8 * 12_000, 12_000)
    ]
    conversation.labels.add(windows[:5])
    conversation.labels.add(windows)
    # Then it counts once
    (embeddings,) = conversation.labels.embeddings()
    assert embeddings.seconds == len(windows) * STEP_S


def test_at_the_maximum_the_nearest_speaker_is_used() -> None:
    conversation = Conversation(LiveLabels(maximum=2))
    for person in ("ann", "bob", "cyd", "dan", "ann", "bob"):
        conversation.speak(person, 5)
    assert {label for _, _, label in conversation.labels.turns()} <= {0, 1}


def test_people_who_begin_in_one_utterance_get_labels_within_the_maximum() -> None:
    # Given an utterance of three people, and then of two others
    together = Conversation(LiveLabels(maximum=4))
    for people in (("ann", "bob", "cyd"), ("dan", "eve")):
        windows = list[SpeechWindow]()
        for person in people:
            start = round((together.now + PAUSE_S) * SAMPLE_RATE)
            windows += [
                SpeechWindow(start + at, start + at + 24_000, quantized(together.values(person)))
                for at in range(0, 60_000, 12_000)
            ]
            together.now += PAUSE_S + 4.5
        together.labels.add(windows)
    # Then there are as many labels as allowed
    assert {label for _, _, label in together.labels.turns()} <= {0, 1, 2, 3}


def test_short_speech_that_resembles_a_speaker_gets_no_label_of_its_own(conversation: Conversation) -> None:
    # Given somebody, and short speech that resembles this person a little
    conversation.speak("ann", 10)
    towards, other = (conversation.values(person).astype(np.float64) for person in ("ann", "bob"))
    similar = quantized((0.5 * towards / np.linalg.norm(towards) + other / np.linalg.norm(other)).astype(np.float32))
    for count in (8, 12):
        start = round((conversation.now + PAUSE_S) * SAMPLE_RATE)
        conversation.labels.add(
            [SpeechWindow(start + at * 12_000, start + (at + 2) * 12_000, similar) for at in range(count)]
        )
        conversation.now += PAUSE_S + (count + 1) * STEP_S
        labels = {label for _, _, label in conversation.labels.turns()}
        # Then it is that person, until there is enough of it
        assert len(labels) == (1 if count == 8 else 2)


def test_two_labels_of_one_person_are_merged(conversation: Conversation) -> None:
    # Given one person who resembles two at first
    conversation.speak("ann", 4)
    conversation.speak("bob", 4)
    middle = quantized(conversation.values("ann") + conversation.values("bob"))
    # When what follows lies between the two
    for _ in range(12):
        start = round((conversation.now + PAUSE_S) * SAMPLE_RATE)
        windows = [SpeechWindow(start + at, start + at + 24_000, middle) for at in (0, 12_000, 24_000)]
        conversation.labels.add(windows)
        conversation.now += PAUSE_S + 3
    # Then one label remains, and the other says whose it is
    labels = {label for _, _, label in conversation.labels.turns()}
    assert len(labels) == 1
    assert set(conversation.labels.merged.values()) == labels
    assert {item.label for item in conversation.labels.embeddings()} == labels
    # And a merged label is not given again
    conversation.speak("cyd", 10)
    assert conversation.label_at(conversation.now - 5) not in {0, 1}


@pytest.mark.parametrize(("from_telephone", "expected"), [(False, [0, 1, 1]), (True, [0, None, None])])
def test_on_a_telephone_a_new_label_needs_more_speech(from_telephone: bool, expected: list[int | None]) -> None:
    # Given somebody, and a stranger who speaks for 2.6 s in all
    conversation = Conversation(LiveLabels(), from_telephone=from_telephone)
    conversation.speak("ann", 10)
    conversation.speak("bob", 1.3)
    conversation.speak("bob", 1.3)
    assert conversation.labels_of(conversation.said) == expected
    # When it is 3 s, the stranger has a label on a telephone, too
    conversation.speak("bob", 0.4)
    assert conversation.labels_of(conversation.said) == [0, 1, 1, 1]


@pytest.mark.parametrize(("from_telephone", "pause", "speakers"), [(False, 0, 2), (True, 0, 1), (True, 3_000, 2)])
def test_on_a_telephone_an_embedding_counts_with_its_neighbours(
    conversation: Conversation, from_telephone: bool, pause: int, speakers: int
) -> None:
    # Given speech of somebody, in which two embeddings resemble this person only a little
    ann, other = (values / np.linalg.norm(values) for values in map(conversation.values, ("ann", "bob")))
    windows = list[SpeechWindow]()
    start = 0
    for number in range(14):
        is_odd = number in {6, 7}
        values = (0.25 * ann + 0.97 * other).astype(np.float32) if is_odd else conversation.values("ann")
        windows.append(SpeechWindow(start, start + 24_000, quantized(values), from_telephone=from_telephone))
        start += 12_000 if number not in {5, 7} or not pause else 24_000 + pause
    conversation.labels.add(windows)
    # Then on a telephone these are nobody else, unless there are pauses around them
    assert len(conversation.labels.labels) == speakers


@pytest.mark.parametrize(("from_telephone", "expected"), [(False, [0, 1, 0]), (True, [0, 0, 0])])
def test_on_a_telephone_what_varies_in_one_person_counts_less(
    conversation: Conversation, from_telephone: bool, expected: list[int]
) -> None:
    # Given utterances that differ in the direction in which the speech of one person varies most
    for sign in (1, -1, 1):
        speak(conversation, AXES[-1] + sign * AXES[0], from_telephone=from_telephone)
    assert conversation.labels_of(conversation.said) == expected


@pytest.mark.parametrize(
    ("from_telephone", "similarity", "windows", "expected"),
    [(False, 0.31, 4, [0, 1]), (True, 0.31, 4, [0, 0]), (True, 0.31, 16, [0, 1]), (True, 0.35, 16, [0, 0])],
)
def test_whitened_embeddings_of_one_person_may_be_less_similar(
    conversation: Conversation, from_telephone: bool, similarity: float, windows: int, expected: list[int]
) -> None:
    # Given two utterances, short or long ones, whose embeddings, as they are compared, have this similarity
    for values in (AXES[0], similar(similarity)):
        speak(conversation, unwhitened(values, from_telephone), from_telephone=from_telephone, windows=windows)
    assert conversation.labels_of(conversation.said) == expected


@pytest.mark.parametrize(("from_telephone", "expected"), [(False, [0, 1]), (True, [0, 0])])
def test_whitened_embeddings_of_one_person_may_vary_more(
    conversation: Conversation, from_telephone: bool, expected: list[int]
) -> None:
    # Given two utterances whose embeddings vary, but whose mean embeddings are similar
    for values, variations in ((AXES[0], AXES[10:34]), (similar(0.53), AXES[40:64])):
        varied = unwhitened((values + 1.4 * variations).astype(np.float32), from_telephone)
        speak(conversation, varied, from_telephone=from_telephone, windows=24)
    assert conversation.labels_of(conversation.said) == expected


@pytest.mark.parametrize(
    ("similarity", "from_telephone", "expected"), [(0.27, False, None), (0.27, True, 0), (0.23, True, None)]
)
def test_on_a_telephone_short_speech_may_be_less_similar_to_a_speaker(
    conversation: Conversation, similarity: float, from_telephone: bool, expected: int | None
) -> None:
    # Given somebody who has spoken for a minute, and then speech that is too short for a label
    speak(conversation, unwhitened(AXES[0], from_telephone), from_telephone=from_telephone, windows=80)
    values = unwhitened(similar(similarity), from_telephone)
    speak(conversation, values, from_telephone=from_telephone, windows=1)
    # Then it has the label of that person only if it is similar enough
    assert conversation.labels_of(conversation.said) == [0, expected]
    assert conversation.labels.nearest(SpeechWindow(0, 24_000, quantized(values))) == expected


def test_on_a_telephone_labels_are_merged_at_less_similarity(conversation: Conversation) -> None:
    # Given two people, and then speech between the two
    first, second = AXES[-1], 0.2 * AXES[-1] + 0.98 * AXES[0]
    for values, windows in ((first, 12), (second, 3), (first + second, 4)):
        speak(conversation, unwhitened(values, from_telephone=True), from_telephone=True, windows=windows)
    # Then the second label, which has a similarity of 0.51 to the only cluster, is merged
    assert conversation.labels.merged == {1: 0}


def test_people_on_a_telephone_keep_their_labels_for_more_than_two_minutes(conversation: Conversation) -> None:
    # Given two people whose embeddings are unlike each other only if they are whitened, and a long silence
    people = AXES[0] + 0.72 * AXES[-1], AXES[0]
    for number in range(23):
        conversation.now += 130 if number == 20 else 0
        speak(conversation, people[number % 2], from_telephone=True)
    # Then both are recognized after it
    assert (conversation.labels_of(conversation.said[-3:]), conversation.labels.merged) == ([0, 1, 0], {})
    window = SpeechWindow(0, 24_000, quantized(people[0]), from_telephone=True)
    assert conversation.labels.nearest(window) == 0
    # And also when all that they said is settled, and there is nothing new
    conversation.labels.settle(round((conversation.now + 130) * SAMPLE_RATE))
    conversation.labels.add([])
    assert conversation.labels.nearest(window) == 0


def similar(similarity: float) -> Floats:
    """An embedding with this similarity to the first axis."""
    vector: Floats = (similarity * AXES[0] + np.sqrt(1 - similarity**2) * AXES[1]).astype(np.float32)
    return vector


def unwhitened(values: Floats, from_telephone: bool) -> Floats:
    """The embeddings that are compared as these values."""
    return np.linalg.solve(VOICE_NETWORK.whitening, values.T).T if from_telephone else values


def speak(conversation: Conversation, values: Floats, *, from_telephone: bool, windows: int = 4) -> None:
    """Add an utterance with these embeddings of its windows, or with one that all of them have."""
    start = conversation.now + PAUSE_S
    conversation.now = start + (windows - 1) * STEP_S + WINDOW_S
    conversation.said.append((start, conversation.now, ""))
    at = np.rint(SAMPLE_RATE * (start + STEP_S * np.arange(windows))).astype(int).tolist()
    directions = map(quantized, np.broadcast_to(values, (windows, EMBEDDING_SIZE)))
    spoken = zip(at, directions, strict=True)
    conversation.labels.add([SpeechWindow(t, t + 24_000, of, from_telephone=from_telephone) for t, of in spoken])
