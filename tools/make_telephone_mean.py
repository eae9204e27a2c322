"""Make ``app/engines/weights/telephone.npy``: what the embeddings of all voices have in common on a telephone.

It is the mean over speakers of the mean of each one's embeddings, of length 1, through the telephone of
``make_calls.py``. The speakers are those of the half that is chosen by; what the other half has checks it. The
packages are those of ``make_conversations.py`` and ``make_calls.py``::

    python tools/make_telephone_mean.py --pyannote pyannote_audio-4.0.7 --moonshine moonshine_voice/assets \
        --pocketsphinx testdata/usr/share/pocketsphinx/test/data --asterisk sounds/usr/share/asterisk/sounds
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from make_calls import HALVES, announcer, telephone
from make_conversations import RATE, SPEAKERS, Piece, Recording, load, meetings, pieces_of_talk, readings, write
from pyannote.core import Annotation

from app.engines.diarization.features import energies, features
from app.engines.diarization.networks import Array, Networks

TO = Path("app/engines/weights/telephone.npy")
PIECES = 6  # of each speaker, the longest
LEAST, MOST = 1.5, 4.0  # seconds


def speakers(options: argparse.Namespace) -> dict[str, list[Piece]]:
    """What each speaker of the half says."""
    pieces = readings(options.pocketsphinx, options.moonshine)
    for recording in meetings(options.pyannote).values():
        for name, more in pieces_of_talk(recording).items():
            pieces.setdefault(name, []).extend(more)
    found = {name: pieces[name] for name in SPEAKERS["choose"]}
    for name, folders in HALVES["choose"].items():
        if folders:
            found[name] = announcer([options.asterisk / folder for folder in folders]).sentences
    return found


def mean(networks: Networks, pieces: list[Piece], folder: Path) -> Array:
    """The mean embedding of one speaker's longest pieces, heard through a telephone."""
    longest = sorted((p for p in pieces if len(p.samples) > LEAST * RATE), key=lambda p: -len(p.samples))[:PIECES]
    found = []
    for piece in longest:
        write(folder / "piece", Recording(telephone(piece.samples), Annotation()), RATE // 2)
        samples = load(folder / "piece.wav")[: int(MOST * RATE)]
        found.append(networks.embed(features(energies(samples))))
    return np.asarray(np.mean(found, axis=0))


def main() -> None:
    """Write the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("asterisk", "pocketsphinx", "pyannote", "moonshine"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="where the packages were unpacked")
    options = parser.parse_args()
    networks = Networks(threads=1)
    with TemporaryDirectory() as folder:
        means = [mean(networks, pieces, Path(folder)) for pieces in speakers(options).values()]
    np.save(TO, np.mean(means, axis=0).astype(np.float32))


if __name__ == "__main__":
    main()
