import kaldi_native_fbank
import numpy as np
import pytest

from app.engines.diarization.features import features


def kaldi(samples: np.ndarray) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = 80
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(16_000, samples.tolist())
    bank.input_finished()
    energies = np.array([bank.get_frame(number) for number in range(bank.num_frames_ready)])
    centred: np.ndarray = energies - energies.mean(axis=0)
    return centred


@pytest.mark.parametrize("samples", [400, 1_600, 64_000])
def test_features_are_those_of_kaldi(samples: int) -> None:
    # Given audio of any length: a hum that fades into noise
    random = np.random.default_rng(7)
    time = np.arange(samples) / 16_000
    audio = (np.sin(2 * np.pi * 180 * time) * np.exp(-time) + random.normal(0, 0.01, samples)).astype(np.float32)

    # When its features are found, then they are Kaldi's, to four digits
    assert np.allclose(features(audio), kaldi(audio), rtol=0, atol=1e-3)


def test_digital_silence_has_features() -> None:
    # Given nothing but zeros, when features are found, then they are numbers
    assert np.isfinite(features(np.zeros(1_600, np.float32))).all()
