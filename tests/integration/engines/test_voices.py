"""The embeddings of the bundled network: unchanged numbers, and the same person in other recordings."""

import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from natscribe.schemas.voices import MIN_REFERENCE_S

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.diarizer import diarize
from app.engines.diarization.features import features
from app.engines.diarization.networks import Networks
from app.engines.diarization.telephone import simulate_telephone
from app.engines.messages import DiarizationDone, Diarize, RecordingEmbeddings
from app.settings import Settings
from app.speech.speaker_labels import combined
from app.speech.voices.matching import match
from tests.audio import NO_LIMIT, Samples, load, write_channels
from tests.truth.conversations import conversations_in

RECORDINGS = Path(__file__).parents[2] / "recordings"
# If the numbers in it change, everybody has to be enrolled again: raise `features` of `diarization/campplus/` then.
GOLDEN = Path(__file__).parent / "golden_voices.json"
CLIP = RECORDINGS / "speech/short/en-vm-tempgreeting2.flac"
pytestmark = pytest.mark.xdist_group("diarization")  # people are enrolled once

LEAK = 10 ** (-20 / 20)
FEW_SECONDS = 25.0
PEOPLE = {"en": "allison", "ru": "ivrvoice", "it": "carlo", "fr": "june"}


@pytest.fixture(scope="module")
def clip() -> Samples:
    """A second and a half of one person."""
    return load(CLIP)[8_000:32_000]


Hears = Callable[[Path], DiarizationDone]


def voices_of(done: DiarizationDone) -> RecordingEmbeddings:
    assert done.embedded is not None
    return done.embedded


def alone(networks: Networks, path: Path, channel: int | None = None) -> RecordingEmbeddings:
    """The diarization of a recording, or of a channel that counts as one speaker."""
    job = Diarize(path=path, channel=channel, max_speakers=1, embed=True)
    return voices_of(diarize(networks, job, NO_LIMIT, lambda _: None))


@pytest.fixture(scope="module")
def enrolled(diarized: Hears) -> dict[str, list[tuple[str, str]]]:
    """Four people, each from one recording."""
    references = {}
    for language, person in PEOPLE.items():
        (speaker,) = voices_of(diarized(RECORDINGS / f"speech/prompts-{language}.flac")).speakers
        assert speaker.seconds >= MIN_REFERENCE_S
        assert speaker.agreement > VOICE_NETWORK.min_agreement
        references[person] = [(speaker.values, speaker.telephone)]
    return references


def names(embeddings: RecordingEmbeddings, enrolled: dict[str, list[tuple[str, str]]]) -> set[str | None]:
    """Whose voices the speakers of a recording have."""
    return set(named(embeddings, enrolled).values())


def named(embeddings: RecordingEmbeddings, enrolled: dict[str, list[tuple[str, str]]]) -> dict[str, str | None]:
    """Whose voice each speaker of a recording has, with the service's own limits."""
    settings = Settings(_env_file=None)
    limits = {"threshold": settings.voice_threshold, "margin": settings.voice_margin}
    speakers = {
        speaker.speaker: (speaker.values, speaker.telephone, speaker.agreement) for speaker in embeddings.speakers
    }
    return {label: matched.voice for label, matched in match(speakers, enrolled, **limits).items()}


def test_features_are_what_the_network_was_trained_on(clip: Samples) -> None:
    # Given the features of a clip, of which some are known by heart: other settings of the filters ruin every name
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    computed = features(clip)
    # Then each known one is as it was
    assert computed.shape == (148, 80)
    np.testing.assert_allclose(computed[::37, ::8], golden["features"], atol=0.01)


def test_embeddings_are_what_enrolled_people_were_compared_with(networks: Networks, clip: Samples) -> None:
    # Given the embeddings that this clip had when people were enrolled
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for name, samples in (("values", clip), ("telephone", simulate_telephone(clip))):
        enrolled = np.frombuffer(b64decode(golden[name]), np.int8).astype(np.float32)
        # Then they have the same direction, whatever processor computes them
        assert float(networks.embed(features(samples)) @ enrolled / np.linalg.norm(enrolled)) > 0.998


def test_a_telephone_leaves_what_a_telephone_has_sent(clip: Samples) -> None:
    once = simulate_telephone(clip)
    twice = simulate_telephone(once)
    assert float(np.linalg.norm(twice - once) / np.linalg.norm(once)) < 0.02
    assert float(np.abs(simulate_telephone(np.zeros(24_000, np.float32))).max()) == 0


def test_people_are_named_in_a_conversation(diarized: Hears, enrolled: dict[str, list[tuple[str, str]]]) -> None:
    assert names(voices_of(diarized(RECORDINGS / "talk/two-women.ogg")), enrolled) == {"allison", "ivrvoice"}


def test_people_are_named_on_the_telephone(diarized: Hears, enrolled: dict[str, list[tuple[str, str]]]) -> None:
    assert names(voices_of(diarized(RECORDINGS / "talk/phone.wav")), enrolled) == {"carlo", "june"}


def test_people_are_named_in_their_channels(networks: Networks, enrolled: dict[str, list[tuple[str, str]]]) -> None:
    # Given two people who speak at the same time, each in a channel
    call = RECORDINGS / "speech/two-channels.flac"
    for channel, person in enumerate(("allison", "ivrvoice")):
        # When one channel counts as one speaker, then this one is named
        assert names(alone(networks, call, channel), enrolled) == {person}


def test_the_far_side_of_a_call_is_not_named_in_a_channel_that_hears_it(
    networks: Networks, enrolled: dict[str, list[tuple[str, str]]], tmp_path: Path
) -> None:
    # Given a call of two women, each faintly audible in the other's channel, too; the first one says little
    (talk,) = [
        conversation for conversation in conversations_in(RECORDINGS / "talk") if conversation.name == "two-women"
    ]
    both = load(talk.path)
    sides = {person: np.zeros_like(both) for person in ("allison", "ivrvoice")}
    for said in talk.said:
        if said.speaker == "ivrvoice" or said.start < FEW_SECONDS:
            interval = slice(round(said.start * SAMPLE_RATE), round(said.end * SAMPLE_RATE))
            sides[said.speaker][interval] = both[interval]
    one, other = sides.values()
    call = write_channels(tmp_path / "call.wav", [one + LEAK * other, other + LEAK * one], "pcm_s16le")

    # When each channel is diarized, then each speaker is one of the two, and has the name of the person of the channel
    jobs = [Diarize(path=call, channel=channel, embed=True) for channel in (0, 1)]
    done = combined([diarize(networks, job, NO_LIMIT, lambda _: None) for job in jobs])
    assert named(voices_of(done), enrolled) == {"SPEAKER_00": "allison", "SPEAKER_01": "ivrvoice"}


def test_two_people_are_no_reference(networks: Networks) -> None:
    # Given a conversation of two, when it counts as one person, then its embeddings differ
    two = RECORDINGS / "talk/two-women.ogg"
    (mixed,) = alone(networks, two).speakers
    assert mixed.agreement < VOICE_NETWORK.min_agreement


def test_a_person_is_named_in_another_language(diarized: Hears, enrolled: dict[str, list[tuple[str, str]]]) -> None:
    assert names(voices_of(diarized(RECORDINGS / "speech/prompts-es.flac")), enrolled) == {"allison"}


def test_a_stranger_is_not_named(enrolled: dict[str, list[tuple[str, str]]]) -> None:
    for person in PEOPLE.values():
        others = {name: voice for name, voice in enrolled.items() if name != person}
        speakers = {"SPEAKER_00": (*enrolled[person][0], 1.0)}
        settings = Settings(_env_file=None)
        limits = {"threshold": settings.voice_threshold, "margin": settings.voice_margin}
        assert match(speakers, others, **limits)["SPEAKER_00"].voice is None
