"""Make ``app/engines/weights/telephone.npy``: the directions that the embeddings of all voices share on telephones.

The file has four directions (4, 192), each of length 1 and at right angles to the others. On each of eight kinds of
telephone, the mean over all speakers of their mean embeddings is computed; the directions are those in which these
means are largest. The speakers are those of the half ``choose``; the half ``check`` shares no voice with them. The
packages are those of ``make_conversations.py`` and ``make_calls.py``::

    python tools/make_telephone_directions.py --pyannote pyannote_audio-4.0.7 --moonshine moonshine_voice/assets \
        --pocketsphinx testdata/usr/share/pocketsphinx/test/data --asterisk sounds/usr/share/asterisk/sounds
"""

from __future__ import annotations

import argparse
import io
import random
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from make_calls import BAND, HALVES, announcer, filtered, quantized, telephone
from make_conversations import RATE, SPEAKERS, Piece, Samples, meetings, pieces_of_talk, readings

from app.engines.audio.mixing import Mixer
from app.engines.diarization.features import features
from app.engines.diarization.networks import Array, Networks

if TYPE_CHECKING:
    from collections.abc import Callable

TO = Path("app/engines/weights/telephone.npy")
FEWEST, PIECES = (
    3,
    14,
)  # the mean of a speaker is made of so many pieces, chosen at random; a speaker with fewer is left out
SECONDS = 1.5  # of a piece: as long as a slice of the diarization; shorter pieces are not used
DIRECTIONS = 4
QUIET = 0.2


def speakers(options: argparse.Namespace) -> dict[str, list[Piece]]:
    """Read the pieces of each speaker of the half `choose`."""
    pieces = readings(options.pocketsphinx, options.moonshine)
    for recording in meetings(options.pyannote).values():
        for name, more in pieces_of_talk(recording).items():
            pieces.setdefault(name, []).extend(more)
    found = {name: pieces[name] for name in SPEAKERS["choose"]}
    for name, folders in HALVES["choose"].items():
        if folders:
            found[name] = announcer([options.asterisk / folder for folder in folders]).sentences
    return {name: chosen for name, pieces in found.items() if len(chosen := some(pieces)) >= FEWEST}


def some(pieces: list[Piece]) -> list[Piece]:
    """Choose pieces at random that are long enough."""
    long = [piece for piece in pieces if len(piece.samples) > SECONDS * RATE]
    random.Random(3).shuffle(long)  # noqa: S311 -- nothing secret
    return long[:PIECES]


def band(samples: Samples) -> Samples:
    """Keep exactly what is in the telephone's band."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    spectrum[(hertz < BAND[0]) | (hertz > BAND[1])] = 0
    return np.asarray(np.fft.irfft(spectrum, len(samples)), np.float32)


def frames(samples: Samples, rate: int) -> av.AudioFrame:
    """Make a frame of samples."""
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis].astype(np.float32), format="flt", layout="mono")
    frame.sample_rate = rate
    return frame


def mixed(sound: list[av.AudioFrame]) -> Samples:
    """Return frames as the service reads them."""
    mixer = Mixer()
    return np.concatenate([*(piece for frame in sound for piece in mixer.mix(frame)), *mixer.flush()])


def coded(samples: Samples, *, codec: str, container: str, bits: int) -> Samples:
    """Encode samples at 8 kHz with a codec, and decode them."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=RATE // 2, layout="mono", bit_rate=bits)
        if not isinstance(stream, AudioStream):
            raise TypeError(codec)
        resampler = AudioResampler(format=stream.format.name, layout="mono", rate=RATE // 2)
        for frame in (*resampler.resample(frames(samples, RATE)), *resampler.resample(None)):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as encoded:
        return mixed(list(encoded.decode(audio=0)))[: len(samples)]


TELEPHONES: list[Callable[[Samples], Samples]] = [
    lambda samples: mixed([frames(telephone(samples), RATE // 2)]),
    band,
    filtered,
    lambda samples: quantized(band(samples)),  # noise above the band
    lambda samples: quantized(filtered(samples)),
    lambda samples: quantized(filtered(samples * QUIET)),
    partial(coded, codec="libmp3lame", container="mp3", bits=16_000),
    lambda samples: coded(filtered(samples), codec="libopus", container="ogg", bits=12_000),
]


def means(networks: Networks, pieces: list[Piece]) -> Array:
    """Return the mean embedding of a speaker on each telephone (telephones, 192)."""
    long = [piece.samples[: int(SECONDS * RATE)] for piece in pieces]
    heard = [[networks.embed_unprojected(features(through(each))) for each in long] for through in TELEPHONES]
    return np.asarray(np.mean(heard, axis=1))


def main() -> None:
    """Compute the directions from all speakers and write them to the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("asterisk", "pocketsphinx", "pyannote", "moonshine"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="where the packages were unpacked")
    options = parser.parse_args()
    networks = Networks(threads=1)
    shared = np.mean([means(networks, pieces) for pieces in speakers(options).values()], axis=0)
    _, _, directions = np.linalg.svd(shared, full_matrices=False)
    np.save(TO, directions[:DIRECTIONS].astype(np.float32))


if __name__ == "__main__":
    main()
