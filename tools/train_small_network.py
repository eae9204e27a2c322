"""Train the small speech network of the tests, which recognises six clips of this repository and no other speech.

A test of a speech engine needs weights, and no package has weights for the engines that onnx-asr
runs. So this script trains a network of 100,000 weights in the layout of an NVIDIA NeMo CTC model
(``model.onnx``, ``vocab.txt``, ``config.json``), which onnx-asr loads from a folder like any other
model. The network gets the same features as the large models of this kind. It recognises its clips
anywhere in a window, at any loudness, with silence or noise around them; from other speech it makes
nonsense or nothing.

Install what this script needs into a virtual environment of its own; the product needs no PyTorch::

    python3.11 -m venv train-env
    train-env/bin/pip install torch onnx onnx-asr onnxruntime numpy av
    train-env/bin/python tools/train_small_network.py

The training takes about ten minutes of one core. The files in the repository were made with torch
2.13.0, onnx 1.23.2 and onnx-asr 0.12.0; other versions can give other bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import onnx_asr
import torch
from onnx_asr.preprocessors.numpy_preprocessor import NemoPreprocessorNumpy
from torch import nn
from torch.nn import functional

Samples = npt.NDArray[np.float32]

RECORDINGS = Path(__file__).parents[1] / "tests" / "recordings"
CLIPS = sorted([*RECORDINGS.glob("librivox/*.flac"), *RECORDINGS.glob("announcements/*.flac")])
SLIP = ("a more a amiable", "a more amiable")
"""An error in a transcript, and the words that are spoken; see tests/recordings/README.md."""

SAMPLE_RATE = 16_000
MELS = 80
SUBSAMPLING = 4
"""The number of frames of 10 ms that become one frame of 40 ms."""

CHANNELS = 96
BLOCKS = 6
KERNEL = 9
"""Frames of 40 ms. All blocks together see 1.2 s before and after a frame, so no word can be misplaced by more."""

BLANK = "<blk>"
SPACE = "\u2581"
LONGEST_GAP_S = 2.2
MOST_MISREAD = 5
"""The training has failed if more of a hundred new windows are read wrongly."""

SHARE_BACKWARDS = 0.1
SHARE_OF_SILENCE = 0.05
"""The shares of windows with reversed speech and with silence: for both, the right text is empty."""


@dataclass(frozen=True)
class Clip:
    """A recording of speech, 16 kHz mono, and its text."""

    samples: Samples
    text: str


@dataclass(frozen=True)
class Window:
    """A window of sound for training, and its text, with the vocabulary's space mark before each word."""

    samples: Samples
    text: str


class Block(nn.Module):
    """A convolution over time in each channel, then one over the channels; without a stride the input is added."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.over_time = nn.Conv1d(CHANNELS, CHANNELS, KERNEL, stride, KERNEL // 2, groups=CHANNELS)
        self.over_channels = nn.Conv1d(CHANNELS, CHANNELS, 1)
        self.norm = nn.BatchNorm1d(CHANNELS)
        self.added = stride == 1

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Map (windows, channels, frames) to the same shape; a stride reduces the number of frames."""
        heard = functional.relu(self.norm(self.over_channels(self.over_time(frames))))
        return heard + frames if self.added else heard


class Network(nn.Module):
    """Maps features (windows, mels, frames) to log probabilities (windows, frames / 4, tokens)."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(MELS, CHANNELS, 5, 2, 2)
        self.second = Block(stride=2)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.last = nn.Conv1d(CHANNELS, tokens, 1)

    def forward(self, audio_signal: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """Process the first `length` frames of each window; the rest is padding."""
        frames = self.second(functional.relu(self.first(audio_signal)))
        places = torch.arange(frames.shape[2], device=frames.device).unsqueeze(0)
        heard = (places < frames_after(length).unsqueeze(1)).unsqueeze(1).to(frames.dtype)
        for block in self.blocks:
            frames = block(frames * heard)
        return functional.log_softmax(self.last(frames).transpose(1, 2), dim=-1)


def frames_after(length: torch.Tensor) -> torch.Tensor:
    """Count the frames that the network makes of `length` frames."""
    return torch.div(length - 1, SUBSAMPLING, rounding_mode="floor") + 1


def read_clip(path: Path) -> Clip:
    """Read a clip and the text beside it."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray().reshape(-1).astype(np.float32) for frame in container.decode(audio=0)]
    text = path.with_suffix(".txt").read_text(encoding="utf-8").strip().replace(*SLIP)
    return Clip(np.concatenate(frames) / np.float32(32768), unicodedata.normalize("NFC", text))


def vocabulary_of(clips: list[Clip]) -> list[str]:
    """List the characters of all texts, and the blank as the last token, as in NeMo."""
    characters = sorted({character for clip in clips for character in clip.text} - {" "})
    return [SPACE, *characters, BLANK]


def make_window(clips: list[Clip], random: np.random.Generator) -> Window:
    """Make a window of some clips, with random order, places and loudness."""
    chosen = [clips[place] for place in random.permutation(len(clips))[: random.integers(1, 4)]]
    backwards = random.random() < SHARE_BACKWARDS
    parts = [_quiet(random, 1.2)]
    if random.random() < SHARE_OF_SILENCE:
        chosen, parts = [], [*parts, np.zeros(2 * SAMPLE_RATE, np.float32)]
    for clip in chosen:
        sound = clip.samples[::-1] if backwards else clip.samples
        parts += [sound * _gain(random), _quiet(random, LONGEST_GAP_S)]
    samples: npt.NDArray[np.floating] = np.concatenate(parts)
    if random.random() < 0.5:  # noqa: PLR2004
        samples = samples + random.normal(0, 10 ** random.uniform(-4.5, -2.5), len(samples))
    text = "" if backwards else "".join(SPACE + clip.text.replace(" ", SPACE) for clip in chosen)
    return Window(np.clip(samples, -1, 1).astype(np.float32), text)


def _quiet(random: np.random.Generator, longest: float) -> Samples:
    return np.zeros(round(random.uniform(0, longest) * SAMPLE_RATE), np.float32)


def _gain(random: np.random.Generator) -> float:
    return float(10 ** random.uniform(-0.8, 0.2))


def features_of(windows: list[Window], random: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute onnx-asr's features, add noise and erase some frames and bands."""
    lengths = np.array([len(window.samples) for window in windows], np.int64)
    padded = np.zeros((len(windows), lengths.max()), np.float32)
    for row, window in zip(padded, windows, strict=True):
        row[: len(window.samples)] = window.samples
    features, frames = NemoPreprocessorNumpy(f"nemo{MELS}")(padded, lengths)
    features = features.astype(np.float32)
    features += random.normal(0, 0.2, features.shape).astype(np.float32)
    for window in features:
        for _ in range(3):
            start = random.integers(window.shape[1])
            window[:, start : start + random.integers(12)] = 0
        start = random.integers(MELS)
        window[start : start + random.integers(12)] = 0
    return torch.from_numpy(features), torch.from_numpy(frames)


def train(clips: list[Clip], vocabulary: list[str], steps: int, seed: int) -> Network:
    """Train a network on random windows of the clips, for this number of steps."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    numbers = {token: number for number, token in enumerate(vocabulary)}
    network = Network(len(vocabulary))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(1, steps + 1):
        windows = [make_window(clips, random) for _ in range(8)]
        features, lengths = features_of(windows, random)
        targets = [[numbers[character] for character in window.text] for window in windows]
        losses = functional.ctc_loss(
            network(features, lengths).transpose(0, 1),
            torch.tensor([number for target in targets for number in target]),
            frames_after(lengths),
            torch.tensor([len(target) for target in targets]),
            blank=numbers[BLANK],
            reduction="none",
            zero_infinity=True,
        )
        loss = (losses / frames_after(lengths)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    return network


def export(network: Network, vocabulary: list[str], folder: Path) -> None:
    """Write the model, the vocabulary and the configuration."""
    network.eval()
    folder.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        network,
        (torch.zeros(2, MELS, 400), torch.tensor([400, 300])),
        folder / "model.onnx",
        input_names=["audio_signal", "length"],
        output_names=["logprobs"],
        dynamic_axes={"audio_signal": {0: "N", 2: "T"}, "length": {0: "N"}, "logprobs": {0: "N", 1: "T4"}},
        opset_version=17,
        dynamo=False,
    )
    lines = [f"{token} {number}\n" for number, token in enumerate(vocabulary)]
    (folder / "vocab.txt").write_text("".join(lines), encoding="utf-8")
    config = {
        "model_type": "nemo-conformer-ctc",
        "features_size": MELS,
        "subsampling_factor": SUBSAMPLING,
        "languages": ["en", "ru"],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def misread(clips: list[Clip], folder: Path, seed: int) -> int:
    """Count the windows, of a hundred new ones, that onnx-asr reads wrongly with the network in the folder."""
    model = onnx_asr.load_model("nemo-conformer-ctc", folder, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(seed + 1)
    wrong = 0
    for _ in range(100):
        window = make_window(clips, random)
        text = model.recognize(window.samples)
        right = window.text.replace(SPACE, " ").strip()
        if text != right:
            wrong += 1
            print(f"read:  {text}\nright: {right}")
    return wrong


def main() -> None:
    """Train the network, write it, and check it with new windows."""
    parser = argparse.ArgumentParser(description="Train the small speech network of the tests.")
    parser.add_argument("--to", type=Path, default=Path("tests/networks/reader"), help="folder to write")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    clips = [read_clip(path) for path in CLIPS]
    vocabulary = vocabulary_of(clips)
    export(train(clips, vocabulary, options.steps, options.seed), vocabulary, options.to)
    for path in sorted(options.to.iterdir()):
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")
    wrong = misread(clips, options.to, options.seed)
    print(f"{wrong} of 100 windows are read wrongly")
    sys.exit(wrong > MOST_MISREAD)


if __name__ == "__main__":
    main()
