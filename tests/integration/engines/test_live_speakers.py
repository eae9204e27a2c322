"""The speakers of a live stream in an engine process, from real voices."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from natscribe.schemas.live import LiveAudio

from app.engines.audio.live_streams import LiveStreams
from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization.clustering import Floats
from app.engines.diarization.diarizer import diarize
from app.engines.diarization.live_speakers import speakers_of_channels
from app.engines.diarization.networks import Networks
from app.engines.messages import Diarize, LiveAudioProcessed, LiveSpeakerOptions, ProcessLiveAudio
from app.settings import Settings
from app.speech.voices.matching import match
from tests.audio import NO_LIMIT, load
from tests.truth.attributed import TimeErrors, time_errors
from tests.truth.conversations import Conversation, conversations_in

TALK = Path(__file__).parents[2] / "recordings" / "talk"
JOB = SAMPLE_RATE // 4  # samples
Spoken = tuple[float, float, str]

pytestmark = pytest.mark.xdist_group("diarization")


def played(
    networks: Networks, path: Path, options: LiveSpeakerOptions | None, start_at: float = 0.0
) -> Iterator[LiveAudioProcessed]:
    """The replies to the jobs of a live stream, from some second on."""
    return replies_to(networks, load(path)[:, np.newaxis], options, start_at)


def replies_to(
    networks: Networks, samples: Floats, options: LiveSpeakerOptions | None, start_at: float = 0.0
) -> Iterator[LiveAudioProcessed]:
    """The replies to the jobs of a live stream with separate channels; samples: shape (n, channels)."""
    streams = LiveStreams(NO_LIMIT, speakers=lambda options, count: speakers_of_channels(networks, options, count))
    channels = samples.shape[1]
    samples = (samples * 2**15).astype("<i2")
    for at in range(0, len(samples), JOB):
        yield streams.run(
            ProcessLiveAudio(
                stream="7",
                audio=LiveAudio(channels=channels),
                separate=True,
                first=at == 0,
                start_at=[start_at] * channels,
                data=b64encode(samples[at : at + JOB].tobytes()).decode(),
                speakers=options,
                end=at + JOB >= len(samples),
            )
        )


def labelled(replies: Iterable[LiveAudioProcessed], channel: int = 0) -> list[Spoken]:
    """Who speaks when in a channel, as known when each utterance was complete."""
    spoken: list[Spoken] = []
    for reply in replies:
        for window in reply.windows:
            if (window.channel or 0) != channel:
                continue
            turns = reply.speakers[channel].turns
            inside = [turn for turn in turns if turn.start < window.end and window.start < turn.end]
            spoken += [(turn.start, turn.end, turn.speaker) for turn in inside]
    return spoken


def errors(conversation: Conversation, spoken: list[Spoken]) -> TimeErrors:
    return time_errors(conversation.said, spoken, conversation.said[-1].end + 1)


@pytest.mark.parametrize("conversation", conversations_in(TALK), ids=lambda conversation: conversation.name)
def test_speakers_are_known_at_the_end_of_each_utterance(networks: Networks, conversation: Conversation) -> None:
    # When a conversation is played
    spoken = labelled(played(networks, conversation.path, LiveSpeakerOptions()))
    # Then hardly any time is labelled as another speaker, and the number of speakers is correct
    time_errors = errors(conversation, spoken)
    assert time_errors.under_another / time_errors.scored <= 0.05
    assert time_errors.missed / time_errors.speech <= 0.2
    assert len({label for _, _, label in spoken}) == conversation.speakers


def test_another_process_continues_with_the_same_labels(networks: Networks) -> None:
    # Given a process that has processed a conversation up to its middle
    conversation = conversations_in(TALK)[0]
    before: list[LiveAudioProcessed] = []
    for reply in played(networks, conversation.path, LiveSpeakerOptions()):
        before.append(reply)
        if reply.seconds > conversation.said[-1].end / 2 and reply.windows:
            break
    last = before[-1]
    # When another process continues after a text that is some utterances behind
    options = LiveSpeakerOptions(labels=2, states=[last.speakers[0].state])
    after = labelled(played(networks, conversation.path, options, start_at=last.seconds / 2))
    # Then no speaker gets another label
    both = [item for item in labelled(iter(before)) if item[1] < last.seconds / 2] + after
    assert errors(conversation, both).under_another == pytest.approx(
        errors(conversation, labelled(played(networks, conversation.path, LiveSpeakerOptions()))).under_another, abs=1.0
    )
    # And a state of another version is no error: new labels follow
    options = LiveSpeakerOptions(labels=2, states=["another version"])
    assert {label for _, _, label in labelled(played(networks, conversation.path, options))} == {
        "SPEAKER_02",
        "SPEAKER_03",
    }


def test_a_stream_without_speakers_has_none(networks: Networks) -> None:
    replies = played(networks, conversations_in(TALK)[0].path, None)
    assert all(reply.speakers == [] and reply.speaking == [None] for reply in replies)


def test_live_speakers_sound_like_those_of_the_recording(networks: Networks) -> None:
    # Given the embeddings of the speakers of a recording
    path = conversations_in(TALK)[-1].path
    recorded = diarize(networks, Diarize(path=path, embed=True), NO_LIMIT, lambda _: None).embedded
    # When the same people are recognized live
    replies = played(networks, path, LiveSpeakerOptions(embed=True))
    *_, last = (speakers for reply in replies for speakers in reply.speakers)
    assert recorded is not None
    assert last.embedded is not None
    # Then each resembles one of them, as far as voices have to
    assert last.embedded.model == recorded.model
    voices = {item.speaker: [(item.values, item.telephone)] for item in recorded.speakers}
    speakers = {item.speaker: (item.values, item.telephone, item.agreement) for item in last.embedded.speakers}
    settings = Settings(_env_file=None)
    matches = match(speakers, voices, threshold=settings.voice_threshold, margin=settings.voice_margin)
    assert {matched.voice for matched in matches.values()} == set(voices)
    assert min(item.seconds for item in last.embedded.speakers) > 15


def test_open_utterances_have_a_probable_speaker(networks: Networks) -> None:
    replies = list(played(networks, conversations_in(TALK)[0].path, LiveSpeakerOptions()))
    guesses = [(reply.seconds, label) for reply in replies for label in reply.speaking if label]
    final = [turn for reply in replies for speakers in reply.speakers for turn in speakers.turns]
    right = [any(turn.start < at - 1.5 < turn.end and turn.speaker == guess for turn in final) for at, guess in guesses]
    assert np.mean(right) >= 0.8
    assert len(guesses) > len(replies) / 4


def test_the_speaker_of_a_long_utterance_is_known_before_its_end(networks: Networks) -> None:
    # Given a conversation in which some speak for more than three seconds without a pause
    replies = list(played(networks, conversations_in(TALK)[-1].path, LiveSpeakerOptions(embed=True)))
    early = [reply for reply in replies if reply.speakers and not reply.windows]
    # Then there is news of the speakers while they speak, up to the last second or so, with the labels of the end
    assert len(early) >= 5
    recent = [turn for reply in early for turn in reply.speakers[0].turns if turn.end > reply.seconds - 1.5]
    assert len(recent) >= len(early) * 0.8
    assert {turn.speaker for turn in recent} <= set(replies[-1].speakers[0].labels)
    # And their embeddings count this speech
    (embedded,) = [speakers.embedded for speakers in early[0].speakers]
    assert embedded is not None
    assert sum(person.seconds for person in embedded.speakers) >= 2


def channel_of_each_person(conversation: Conversation) -> Floats:
    """A call: each person in a channel, in which the others are silent."""
    samples = load(conversation.path)
    people = sorted({said.speaker for said in conversation.said})
    call = np.zeros((len(samples), len(people)), np.float32)
    for said in conversation.said:
        start, end = (round(second * SAMPLE_RATE) for second in (said.start, said.end))
        call[start:end, people.index(said.speaker)] = samples[start:end]
    return call


@pytest.mark.parametrize("conversation", conversations_in(TALK), ids=lambda conversation: conversation.name)
def test_a_channel_with_one_person_has_one_speaker(networks: Networks, conversation: Conversation) -> None:
    *_, last = (reply for reply in replies_to(networks, channel_of_each_person(conversation), LiveSpeakerOptions()))
    assert [speakers.labels for speakers in last.speakers] == [["SPEAKER_00"], ["SPEAKER_01"]]


@pytest.mark.parametrize("conversation", conversations_in(TALK), ids=lambda conversation: conversation.name)
def test_nobody_is_a_speaker_of_the_other_channel(networks: Networks, conversation: Conversation) -> None:
    # Given a call in which each side is faintly in the other channel, too
    call = channel_of_each_person(conversation)
    replies = replies_to(networks, call + 10 ** (-30 / 20) * call[:, ::-1], LiveSpeakerOptions())
    # Then each channel has one speaker, from the first to the last utterance
    labels = [[*speakers.labels] for reply in replies if reply.speakers for speakers in reply.speakers]
    assert all(channel in ([], ["SPEAKER_00"]) for channel in labels[::2])
    assert all(channel in ([], ["SPEAKER_01"]) for channel in labels[1::2])
    assert labels[-2:] == [["SPEAKER_00"], ["SPEAKER_01"]]


def test_several_people_in_a_channel_are_told_apart(networks: Networks) -> None:
    # Given two conversations at the same time, each in a channel of its own
    conversations = conversations_in(TALK)
    both = [load(conversation.path) for conversation in conversations]
    seconds = min(map(len, both))
    call = np.stack([samples[:seconds] for samples in both], axis=1)
    replies = list(replies_to(networks, call, LiveSpeakerOptions(max_speakers=4)))
    # Then each has its own speakers, and hardly any time is labelled as another one
    labels = [["SPEAKER_00", "SPEAKER_02"], ["SPEAKER_01", "SPEAKER_03"]]
    assert [speakers.labels for speakers in replies[-1].speakers] == labels
    for channel, conversation in enumerate(conversations):
        time_errors = errors(conversation, labelled(replies, channel))
        assert time_errors.under_another / time_errors.scored <= 0.05
    # And with a maximum there are no more in all channels together
    *_, last = replies_to(networks, call, LiveSpeakerOptions(max_speakers=3))
    assert sum(len(speakers.labels) for speakers in last.speakers) == 3
