"""Embedded audio: as a telephone transmits it, and voices without what telephones add to them."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from app.engines.audio.mixing import SAMPLE_RATE
from app.engines.diarization import VOICE_NETWORK
from app.engines.diarization.features import features
from app.engines.diarization.networks import POWERSET_CLASSES, SEGMENTATION, Networks
from app.engines.diarization.telephone import simulate_telephone
from app.engines.diarization.windows import WINDOW_FRAMES, WINDOW_SAMPLES

SECOND = np.arange(SAMPLE_RATE) / SAMPLE_RATE


@pytest.mark.parametrize(("hertz", "passes"), [(299, False), (300, True), (1000, True), (3400, True), (3401, False)])
def test_a_telephone_transmits_its_band_alone(hertz: int, passes: bool) -> None:
    # Given a tone beside a louder one of another pitch
    tone, other = (np.sin(2 * np.pi * frequency * SECOND).astype(np.float32) for frequency in (hertz, 2000))
    # When a telephone transmits it, then it is there only if the telephone transmits it
    loudness = np.abs(np.fft.rfft(simulate_telephone(0.2 * tone + 0.5 * other)))
    assert (loudness[hertz] > 0.1 * loudness[2000]) == passes


def test_networks_segment_windows_and_embed_speech() -> None:
    networks = Networks(threads=1)
    noise = np.random.default_rng(7).normal(0, 0.1, WINDOW_SAMPLES).astype(np.float32)
    # When a window is segmented, then each frame has the logarithms of shares of one
    log_probabilities = networks.segment(noise)
    assert log_probabilities.shape == (WINDOW_FRAMES, POWERSET_CLASSES)
    assert np.exp(log_probabilities).sum(axis=1) == pytest.approx(1, abs=1e-3)
    # When a voice is embedded, then it is a direction that has nothing of what telephones add
    voice = networks.embed(features(noise))
    assert np.linalg.norm(voice) == pytest.approx(1, abs=1e-3)
    assert np.abs(np.load(VOICE_NETWORK.folder / "telephone.npy") @ voice).max() < 1e-3


def test_whitening_changes_the_lengths_of_directions_alone() -> None:
    lengths = np.linalg.eigvalsh(VOICE_NETWORK.whitening)
    assert np.array_equal(VOICE_NETWORK.whitening, VOICE_NETWORK.whitening.T)
    assert lengths.min() > 0.1


@pytest.mark.parametrize("folder", [SEGMENTATION.parent, VOICE_NETWORK.folder], ids=lambda folder: folder.name)
def test_each_weights_file_has_the_hash_that_is_listed(folder: Path) -> None:
    sums, readme = ((folder / name).read_text() for name in ("SHA256SUMS", "README.md"))
    files = [path for path in folder.iterdir() if path.suffix in {".onnx", ".npy"}]
    lines = [f"{sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in sorted(files)]
    assert sums.splitlines() == lines
    assert f"```\n{sums}```" in readme
