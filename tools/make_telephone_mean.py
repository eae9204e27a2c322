"""Make ``app/engines/weights/telephone.npy``: the mean embedding of voices on a telephone.

The file has the mean over speakers of each speaker's mean embedding; the embeddings have length 1, and the speech went
through the telephone of ``make_calls.py``. The speakers are those of the half ``choose``; the half ``check`` shares no
voice with them. The packages are those of ``make_conversations.py`` and ``make_calls.py``::

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
PIECES = 6  # the mean of a speaker is made of this number of the longest pieces
LEAST, MOST = 1.5, 4.0  # seconds: shorter pieces are not used, longer pieces are cut


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
    return found


def mean(networks: Networks, pieces: list[Piece], folder: Path) -> Array:
    """Compute the mean embedding of one speaker's longest pieces, as a telephone transmits them."""
    longest = sorted((p for p in pieces if len(p.samples) > LEAST * RATE), key=lambda p: -len(p.samples))[:PIECES]
    found = []
    for piece in longest:
        write(folder / "piece", Recording(telephone(piece.samples), Annotation()), RATE // 2)
        samples = load(folder / "piece.wav")[: int(MOST * RATE)]
        found.append(networks.embed(features(energies(samples))))
    return np.asarray(np.mean(found, axis=0))


def main() -> None:
    """Compute the mean over all speakers and write it to the file."""
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
