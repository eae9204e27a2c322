"""Label the speakers of a recording, also those of channels that were diarized each on its own."""

from array import array
from base64 import b64decode
from collections.abc import Mapping, Sequence
from itertools import count
from math import hypot
from operator import mul
from typing import Final

from app.engines.diarization import VOICE_NETWORK
from app.engines.messages import DiarizationDone
from app.speech.speech_gaps import gaps, merge_times

_LABEL: Final = "SPEAKER_"
_MAX_ECHO_ALONE: Final = 0.2  # share of an echo's speech that is at other times than that of the speaker


def speaker_label(number: int) -> str:
    """Return the label of the speaker with this number, counted from 0: SPEAKER_00 and so on."""
    return f"{_LABEL}{number:02}"


def channel_of(label: str, channels: int) -> int:
    """Return the channel, counted from 0, to which a speaker belongs if each channel is diarized on its own.

    This is the number in the speaker's `label` modulo the number of `channels`: SPEAKER_03 belongs to channel 1 of 2.
    """
    return int(label.removeprefix(_LABEL)) % channels


def relabelled(diarization: DiarizationDone, labels: Mapping[str, str]) -> DiarizationDone:
    """Return a copy of a diarization with other speaker labels, and without speakers whose label is not in `labels`.

    `labels`: the new label for each old one.
    """
    labelled = [turn for turn in diarization.turns if turn.speaker in labels]
    turns = [turn.model_copy(update={"speaker": labels[turn.speaker]}) for turn in labelled]
    embedded = diarization.embedded
    if embedded is not None:
        chosen = [item for item in embedded.speakers if item.speaker in labels]
        speakers = [item.model_copy(update={"speaker": labels[item.speaker]}) for item in chosen]
        embedded = embedded.model_copy(update={"speakers": speakers})
    return diarization.model_copy(update={"turns": turns, "embedded": embedded})


def combined(channels: Sequence[DiarizationDone]) -> DiarizationDone:
    """Combine the diarizations of the channels of a recording, each diarized on its own, into one diarization.

    With n channels, the speakers of channel c get the numbers c, c + n, c + 2n and so on, in the order of their first
    turns: so the labels in a channel do not depend on other channels. An echo, i.e. a speaker in one channel whose
    voice belongs to another channel, is left out (see `_is_echo`).
    """
    labelled = []
    for number, channel in enumerate(channels):
        speakers = _without_echoes(channel, [*channels[:number], *channels[number + 1 :]])
        numbers = count(number, len(channels))
        labelled.append(relabelled(channel, dict(zip(speakers, map(speaker_label, numbers), strict=False))))
    embedded = [channel.embedded for channel in labelled if channel.embedded is not None]
    embeddings = [speaker for item in embedded for speaker in item.speakers]
    update = {
        "turns": [turn for channel in labelled for turn in channel.turns],
        "embedded": embedded[0].model_copy(update={"speakers": embeddings}) if embedded else None,
        "cached": all(channel.cached for channel in channels),
    }
    return channels[0].model_copy(update=update)


def _without_echoes(channel: DiarizationDone, others: Sequence[DiarizationDone]) -> list[str]:
    """Return the speakers of a channel in the order of their first turns, without echoes.

    An echo is a speaker whose voice belongs to one of the `others`, i.e. the other channels. The speaker with the most
    speech in the channel is never taken for an echo.
    """
    speakers = dict.fromkeys(turn.speaker for turn in channel.turns)
    main = max(speakers, key=lambda speaker: _seconds(channel, speaker), default=None)
    return [
        speaker
        for speaker in speakers
        if speaker == main
        or not any(
            _is_echo(channel, speaker, other, original)
            for other in others
            for original in {turn.speaker for turn in other.turns}
        )
    ]


def _is_echo(channel: DiarizationDone, speaker: str, other: DiarizationDone, original: str) -> bool:
    """Return whether `speaker` of `channel` is an echo: the voice of `original`, a speaker of the channel `other`.

    An echo speaks almost only while the original does. If both have an embedding, these must be similar, too.
    """
    covered = merge_times((turn.start, turn.end) for turn in other.turns if turn.speaker == original)
    turns = [(turn.start, turn.end) for turn in channel.turns if turn.speaker == speaker]
    alone = sum(max(end - start, 0.0) for turn in turns for start, end in gaps(turn, covered))
    if alone > _MAX_ECHO_ALONE * _seconds(channel, speaker):
        return False
    one, two = _embedding(channel, speaker), _embedding(other, original)
    return (
        not one or not two or sum(map(mul, one, two)) >= VOICE_NETWORK.min_echo_similarity * hypot(*one) * hypot(*two)
    )


def _seconds(channel: DiarizationDone, speaker: str) -> float:
    return sum(turn.end - turn.start for turn in channel.turns if turn.speaker == speaker)


def _embedding(channel: DiarizationDone, speaker: str) -> "array[int]":
    """Return the embedding of a speaker; empty if there is none, because the speaker never speaks alone."""
    speakers = channel.embedded.speakers if channel.embedded else []
    return array("b", b64decode(next((item.values for item in speakers if item.speaker == speaker), "")))
