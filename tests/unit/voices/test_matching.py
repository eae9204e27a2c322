"""Whose voice a speaker has: the most similar one, if it is similar enough, clearly the first, and free."""

from base64 import b64encode
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from app.engines.diarization import VOICE_NETWORK
from app.speech.voices import matching
from app.speech.voices.matching import Match, Pair

LIMITS = {"threshold": 0.6, "margin": 0.1}


def direction(*values: float) -> str:
    """An embedding in this direction."""
    vector = np.zeros(192, np.float32)
    vector[: len(values)] = values
    return b64encode(np.rint(vector / np.abs(vector).max() * 127).astype(np.int8).tobytes()).decode()


def speech(*values: float) -> Pair:
    """Speech of which a telephone transmits nothing."""
    return direction(*values), b64encode(bytes(192)).decode()


def called(*values: float) -> Pair:
    """Speech that came through a telephone: another telephone changes nothing."""
    return direction(*values), direction(*values)


def match(
    speakers: Mapping[str, Pair], voices: Mapping[str, Sequence[Pair]], *, agreement: float = 0.0, **limits: float
) -> dict[str, Match]:
    """The matches of speakers whose embeddings agree this much."""
    return matching.match({label: (*pair, agreement) for label, pair in speakers.items()}, voices, **limits)


def names(matches: dict[str, Match]) -> dict[str, str | None]:
    return {label: match.voice for label, match in matches.items()}


def test_the_most_similar_voice_is_the_speakers() -> None:
    matches = match({"S": speech(1, 0.1)}, {"anna": [speech(1, 0)], "boris": [speech(0, 1)]}, **LIMITS)
    assert names(matches) == {"S": "anna"}
    assert matches["S"].score == pytest.approx(0.995, abs=0.01)


def test_who_is_just_similar_enough_is_named() -> None:
    speakers, voices = {"S": speech(1, 0.4)}, {"anna": [speech(1, 0)], "boris": [speech(0, 1)]}
    first, second = (np.float32(match(speakers, {name: voices[name]}, **LIMITS)["S"].score) for name in voices)
    limits = {"threshold": float(first), "margin": float(first - second)}
    assert names(match(speakers, voices, **limits)) == {"S": "anna"}


def test_whoever_is_like_nobody_has_the_score_of_the_nearest() -> None:
    matches = match({"S": speech(0.5, 0.5, 1)}, {"anna": [speech(1, 0)]}, **LIMITS)
    assert names(matches) == {"S": None}
    assert matches["S"].score == pytest.approx(0.41, abs=0.01)


def test_whoever_is_like_two_voices_is_neither() -> None:
    matches = match({"S": speech(1, 0.9)}, {"anna": [speech(1, 0)], "boris": [speech(0, 1)]}, **LIMITS)
    assert names(matches) == {"S": None}
    assert matches["S"].score > LIMITS["threshold"]


def test_the_more_similar_of_two_speakers_gets_the_name() -> None:
    matches = match({"S0": speech(1, 0.4), "S1": speech(1, 0.1)}, {"anna": [speech(1, 0)]}, **LIMITS)
    assert names(matches) == {"S0": None, "S1": "anna"}


def test_the_most_similar_of_several_references_decides() -> None:
    voices = {"boris": [speech(0, 0, 1)], "anna": [speech(0, 1), speech(1, 0)], "cecile": [speech(0, 0, 0, 1)]}
    assert names(match({"S": speech(1, 0.05)}, voices, **LIMITS)) == {"S": "anna"}


def test_telephones_make_strangers_similar_and_count_for_less() -> None:
    # Given a speaker and a voice that are 0.7 similar, full-band audio or both on a telephone
    voice, speaker = (1.0, 0.0), (0.7, 0.714)
    assert names(match({"S": speech(*speaker)}, {"anna": [speech(*voice)]}, **LIMITS)) == {"S": "anna"}
    assert names(match({"S": called(*speaker)}, {"anna": [called(*voice)]}, **LIMITS)) == {"S": None}


def test_a_person_enrolled_in_full_band_audio_is_known_on_a_telephone() -> None:
    enrolled = direction(1, 0), direction(0, 0, 1)
    assert names(match({"S": called(0, 0, 1, 0.3)}, {"anna": [enrolled]}, **LIMITS)) == {"S": "anna"}


@pytest.mark.parametrize(
    ("alike", "differing", "difference", "agreement", "name"),
    [(-1, 0, 0.9, 0.43, "anna"), (-1, 0, 0.9, 0.42, None), (0, -1, 0.3, 0.92, None), (0, -1, 0.3, 0.91, "anna")],
)
def test_on_telephones_what_varies_in_one_person_counts_less_unless_a_speaker_may_be_two(
    alike: int, differing: int, difference: float, agreement: float, name: str | None
) -> None:
    # Given a speaker and a voice who are alike in a direction, and differ in another one; the first one of all varies
    # most in one person
    axes = np.linalg.eigh(VOICE_NETWORK.whitening)[1].T
    enrolled, spoken = (direction(*(axes[alike] + sign * difference * axes[differing])) for sign in (1, -1))
    # When the parts of the speech agree, then the embeddings are whitened
    voices, speakers = {"anna": [(direction(1), enrolled)]}, {"S": (spoken, spoken)}
    assert names(match(speakers, voices, agreement=agreement, **LIMITS)) == {"S": name}


def test_each_speaker_is_compared_as_its_own_embeddings_agree() -> None:
    # Given speakers with one embedding, which resembles a voice if whitened
    axes = np.linalg.eigh(VOICE_NETWORK.whitening)[1].T
    enrolled, spoken = (direction(*(axes[-1] + sign * 0.9 * axes[0])) for sign in (1, -1))
    speakers = {"S0": (spoken, spoken, 0.42), "S1": (spoken, spoken, 0.43), "S2": (spoken, spoken, 0.42)}
    # Then only the one whose embeddings agree has this voice
    matches = matching.match(speakers, {"anna": [(direction(1), enrolled)]}, **LIMITS)
    assert names(matches) == {"S0": None, "S1": "anna", "S2": None}


@pytest.mark.parametrize(("speakers", "voices"), [({}, {"anna": [speech(1)]}), ({"S": speech(1)}, {})])
def test_without_speakers_or_voices_there_are_no_matches(
    speakers: dict[str, Pair], voices: dict[str, list[Pair]]
) -> None:
    assert match(speakers, voices, **LIMITS) == {}
