"""The bundled networks on two real voices, and what follows from what they find in a telephone call."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization.assignment import assign_speakers
from app.engines.diarization.chunk_analysis import unpack
from app.engines.diarization.diarizer import diarize
from app.engines.diarization.features import features
from app.engines.diarization.networks import Array, Networks
from app.engines.diarization.speakers import SpeakerBounds, collect_embeddings, smoothed, speaker_centroids
from app.engines.diarization.turns import turns
from app.engines.messages import ChunkAnalysed, DiarizationDone, Diarize, StageAdvanced
from app.speech.speaker_labels import combined
from tests.audio import CLIPS, NO_LIMIT, Samples, load, silence, write, write_channels
from tests.truth.attributed import diarization_error_rate, time_errors
from tests.truth.conversations import conversations_in

DEMO = Path(__file__).parents[3] / "app" / "command" / "demo" / "two_readers.flac"
CALL = Path(__file__).parents[2] / "recordings" / "phone_call"
TALK = Path(__file__).parents[2] / "recordings" / "talk"
TRUTH = [("SPEAKER_00", 0.5), ("SPEAKER_01", 7.6), ("SPEAKER_00", 12.4), ("SPEAKER_01", 20.7), ("SPEAKER_00", 22.8)]

pytestmark = pytest.mark.xdist_group("diarization")  # what the networks found once serves several tests


@pytest.fixture(scope="module")
def demo(networks: Networks) -> tuple[DiarizationDone, list[ChunkAnalysed]]:
    """What they find in the demo, and in its chunks."""
    return run(networks, DEMO)


def run(
    networks: Networks, path: Path, bounds: dict[str, int] | None = None, known: Sequence[ChunkAnalysed] = ()
) -> tuple[DiarizationDone, list[ChunkAnalysed]]:
    emitted: list[StageAdvanced | ChunkAnalysed] = []
    job = Diarize.model_validate({"path": path, "known": known} | (bounds or {}))
    done = diarize(networks, job, NO_LIMIT, emitted.append)
    return done, [message for message in emitted if isinstance(message, ChunkAnalysed)]


def called(samples: Samples) -> Samples:
    """What a telephone leaves of it."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum[(hertz < 300) | (hertz > 3400)] = 0
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def test_two_readers_are_distinguished(demo: tuple[DiarizationDone, list[ChunkAnalysed]]) -> None:
    # Given a recording of two readers taking turns
    done, chunks = demo

    # When it is diarized, then the changes of speaker are where they are in truth
    changes = [
        (turn.speaker, turn.start)
        for before, turn in zip([None, *done.turns], done.turns, strict=False)
        if before is None or before.speaker != turn.speaker
    ]
    assert [speaker for speaker, _ in changes] == [speaker for speaker, _ in TRUTH]
    assert [start for _, start in changes] == pytest.approx([start for _, start in TRUTH], abs=0.3)
    assert done.turns[-1].end <= done.duration_seconds

    # And a record is some tens of kilobytes
    assert max(len(chunk.record) for chunk in chunks) < 40_000

    # And at most 6.2 % of its speech is wrong
    assert diarization_error_rate(done.turns, done.duration_seconds) <= 0.062


@pytest.mark.parametrize("name", ["two-women", "phone"])
def test_people_who_take_short_turns_are_distinguished(diarized: Callable[[Path], DiarizationDone], name: str) -> None:
    # Given a minute of two women in short turns, or of two people on a telephone
    (talk,) = [conversation for conversation in conversations_in(TALK) if conversation.path.stem == name]

    # When it is diarized, then they are two, and at most 5 % of the time stands under the other's name
    done = diarized(talk.path)
    errors = time_errors(talk.said, [(t.start, t.end, t.speaker) for t in done.turns], done.duration_seconds)
    assert len({turn.speaker for turn in done.turns}) == 2
    assert errors.under_another <= 0.05 * errors.scored


def test_several_people_in_one_channel_are_distinguished_and_one_in_another_stays_one(
    networks: Networks, tmp_path: Path
) -> None:
    # Given two women in one channel, one reader in another, of whom the first channel has an echo 30 dB quieter, and
    # a silent third channel, because an echo between two channels is muted
    (talk,) = [conversation for conversation in conversations_in(TALK) if conversation.path.stem == "two-women"]
    women, reader = load(talk.path), np.concatenate([silence(65), *map(load, CLIPS)])
    length = max(len(women), len(reader))
    women, reader = (np.pad(samples, (0, length - len(samples))) for samples in (women, reader))
    first, third = (women + reader * 10 ** (-30 / 20)).astype(np.float32), np.zeros_like(reader)
    call = write_channels(tmp_path / "call.wav", [first, reader, third], "pcm_s16le")

    # When the channels are diarized, then the first has the women, with at most 5 % under the other's name
    channels = [run(networks, call, {"channel": channel, "embed": True})[0] for channel in (0, 1)]
    assert len({turn.speaker for turn in channels[0].turns}) == 3
    done = combined(channels)
    turns_of_women = [(t.start, t.end, t.speaker) for t in done.turns if t.speaker in {"SPEAKER_00", "SPEAKER_02"}]
    errors = time_errors(talk.said, turns_of_women, len(women) / SAMPLE_RATE)
    assert errors.under_another <= 0.05 * errors.scored

    # And the second has the reader, of whom the echo is nobody
    assert {turn.speaker for turn in done.turns} == {"SPEAKER_00", "SPEAKER_01", "SPEAKER_02"}


def test_a_telephone_call_has_the_turns_that_it_has() -> None:
    # Given what the networks found in half a minute of a telephone call
    analysed = [unpack(0, (CALL / "chunk.txt").read_text(encoding="ascii").strip())]

    # When its turns are made, then at most 5.5 % of its speech is wrong (9.7 % when windows had no votes)
    embeddings = collect_embeddings(analysed)
    detected = turns(
        analysed,
        assign_speakers(
            analysed, embeddings, speaker_centroids(smoothed(embeddings), analysed, SpeakerBounds(None, None))
        ),
        30.0,
    )
    assert diarization_error_rate(detected, 30.0, CALL / "truth.rttm") <= 0.055


def test_a_telephone_makes_no_two_voices_one(networks: Networks) -> None:
    # Given two readers as a telephone carries them, which brings their embeddings near each other
    demo = load(DEMO)
    readers = [features(called(demo[start * SAMPLE_RATE :][: 4 * SAMPLE_RATE])) for start in (1, 8)]

    def apart(embed: Callable[[Array], Array]) -> float:
        one, other = (embed(reader) for reader in readers)
        return 1 - float(one @ other)

    # When a telephone's share is taken from them, then they are further apart
    assert apart(networks.embed) > apart(networks.embed_unprojected) + 0.15

    # And voices that came another way are about as far apart as before
    readers = [features(demo[start * SAMPLE_RATE :][: 4 * SAMPLE_RATE]) for start in (1, 8)]
    assert apart(networks.embed) == pytest.approx(apart(networks.embed_unprojected), abs=0.15)


def test_one_reader_is_one_speaker(networks: Networks, tmp_path: Path) -> None:
    # Given all clips of one reader, when they are diarized, then there is one speaker
    reading = write(tmp_path / "reading.flac", np.concatenate([load(clip) for clip in CLIPS]), "flac")
    assert {turn.speaker for turn in run(networks, reading)[0].turns} == {"SPEAKER_00"}


def test_one_short_word_is_one_short_turn(networks: Networks, tmp_path: Path) -> None:
    # Given half a second of speech in silence
    word = load(CLIPS[0])[SAMPLE_RATE : SAMPLE_RATE * 3 // 2]
    path = write(tmp_path / "word.flac", np.concatenate([silence(2), word, silence(2)]), "flac")

    # When it is diarized, then that is the one turn
    (turn,) = run(networks, path)[0].turns
    assert (turn.start, turn.end) == pytest.approx((2.0, 2.5), abs=0.3)


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.4])
def test_the_shortest_recordings_do_no_harm(networks: Networks, tmp_path: Path, seconds: float) -> None:
    # Given a moment of speech, when it is diarized, then turns, if any, are within it
    path = write(tmp_path / "moment.wav", load(CLIPS[0])[SAMPLE_RATE:][: round(seconds * SAMPLE_RATE)], "pcm_s16le")
    done, _ = run(networks, path)
    assert all(0 <= turn.start < turn.end <= done.duration_seconds for turn in done.turns)


@pytest.mark.parametrize("seconds", [0.3, 12, 130])
def test_in_silence_nobody_speaks(networks: Networks, tmp_path: Path, seconds: float) -> None:
    # Given silence, when it is diarized, then there are no turns
    assert run(networks, write(tmp_path / "silence.flac", silence(seconds), "flac"))[0].turns == []
