"""Make three tiny networks for tests that count tones, with the files, inputs and outputs of real models.

The models are Parakeet, a transducer that gives tokens with durations; Canary, an attention model that is given
languages and gives no times; and GigaAM, which has features and files of its own. No package has their weights, so the
tests use these networks of some kilobytes in their place. A network finds the tones of a recording (a tone begins where
features rise) and gives one word for each tone. The networks are not trained.

Install what this script needs as for ``train_small_network.py``, and run it::

    train-env/bin/python tools/make_tone_networks.py
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

SPACE = "\u2581"
SURE = 5.0
"""The logit of the token that a network chooses; the other tokens have 0."""

PREFIX = 10
"""The number of tokens that Canary is given at first; the token at TARGET is the language of the text."""

TARGET = 5
CANARY_VOCABULARY = [
    SPACE,
    "<|startofcontext|>",
    "<|startoftranscript|>",
    "<|emo:undefined|>",
    "<|en|>",
    "<|ru|>",
    "<|pnc|>",
    "<|noitn|>",
    "<|notimestamp|>",
    "<|nodiarize|>",
    "<|endoftext|>",
    f"{SPACE}tone",
    f"{SPACE}\u0442\u043e\u043d",
]
ENGLISH, END = CANARY_VOCABULARY.index("<|en|>"), CANARY_VOCABULARY.index("<|endoftext|>")
TONE, RUSSIAN_TONE = CANARY_VOCABULARY.index(f"{SPACE}tone"), len(CANARY_VOCABULARY) - 1


def frames_after(length: torch.Tensor, subsampling: int) -> torch.Tensor:
    """Count the frames that a network makes of `length` frames."""
    return torch.div(length - 1, subsampling, rounding_mode="floor") + 1


class Onsets(nn.Module):
    """Maps features (windows, bands, frames) to 1 where a tone begins, else 0 (windows, frames / subsampling)."""

    def __init__(self, subsampling: int, loud: float) -> None:
        super().__init__()
        self.subsampling = subsampling
        self.loud = loud

    def forward(self, features: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        """Find tones in the first `length` frames of each window."""
        loudest = features.amax(dim=1, keepdim=True)
        pooled = functional.max_pool1d(loudest, self.subsampling, self.subsampling, ceil_mode=True).squeeze(1)
        places = torch.arange(pooled.shape[1]).unsqueeze(0)
        heard = places < frames_after(length, self.subsampling).unsqueeze(1)
        loud = torch.logical_and(pooled > self.loud, heard).float()
        return functional.relu(loud - functional.pad(loud, (1, 0))[:, :-1])


class CtcNetwork(nn.Module):
    """GigaAM's network: gives log probabilities of two tokens and the blank for each frame."""

    def __init__(self, onsets: Onsets) -> None:
        super().__init__()
        self.onsets = onsets

    def forward(self, features: torch.Tensor, feature_lengths: torch.Tensor) -> torch.Tensor:
        """Give a letter where a tone begins, and a space one frame later."""
        begins = self.onsets(features, feature_lengths)
        follows = functional.pad(begins, (1, 0))[:, :-1]
        logits = SURE * torch.stack([follows, begins, 1 - begins - follows], dim=2)
        return functional.log_softmax(logits, dim=2)


class TransducerEncoder(nn.Module):
    """Parakeet's encoder."""

    def __init__(self, onsets: Onsets) -> None:
        super().__init__()
        self.onsets = onsets

    def forward(self, audio_signal: torch.Tensor, length: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where tones begin (windows, 1, frames), and the number of frames."""
        return self.onsets(audio_signal, length).unsqueeze(1), frames_after(length, self.onsets.subsampling)


class TransducerDecoder(nn.Module):
    """Parakeet's decoder and joint network: has a word and the blank, and durations of 0 and 1 frames."""

    def forward(
        self,
        encoder_outputs: torch.Tensor,
        targets: torch.Tensor,
        target_length: torch.Tensor,
        input_states_1: torch.Tensor,
        input_states_2: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give the word where a tone begins, and always move on by one frame."""
        begins = encoder_outputs.reshape(1, 1, 1)
        unused = 0.0 * (targets.sum() + target_length.sum())
        logits = torch.cat([begins, 1 - begins, torch.zeros(1, 1, 1), torch.ones(1, 1, 1)], dim=2)
        return SURE * logits + unused, input_states_1 + begins, input_states_2 + begins


class AttentionEncoder(nn.Module):
    """Canary's encoder."""

    def __init__(self, onsets: Onsets) -> None:
        super().__init__()
        self.onsets = onsets

    def forward(self, audio_signal: torch.Tensor, length: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return where tones begin (windows, frames, 1), and the mask of frames that are no padding."""
        begins = self.onsets(audio_signal, length)
        places = torch.arange(begins.shape[1]).unsqueeze(0)
        there = places < frames_after(length, self.onsets.subsampling).unsqueeze(1)
        return begins.unsqueeze(2), there.long()


class AttentionDecoder(nn.Module):
    """Canary's decoder: remembers all tokens, and gives the word in the language that the tokens ask for."""

    def forward(
        self,
        input_ids: torch.Tensor,
        encoder_embeddings: torch.Tensor,
        encoder_mask: torch.Tensor,
        decoder_mems: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Give one more word, or the end token after one word for each tone."""
        tokens = torch.cat([decoder_mems, input_ids.float().unsqueeze(0).unsqueeze(3)], dim=2)
        tones = (encoder_embeddings.squeeze(2) * encoder_mask).sum(dim=1)
        said = tokens.shape[2] - PREFIX
        word = torch.where(tokens[0, :, TARGET, 0] == ENGLISH, TONE, RUSSIAN_TONE)
        token = torch.where(said < tones, word, END)
        logits = SURE * functional.one_hot(token, len(CANARY_VOCABULARY)).float()
        return functional.log_softmax(logits, dim=1).unsqueeze(1), tokens


def export(
    network: nn.Module,
    inputs: dict[str, torch.Tensor],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
    target: Path,
) -> None:
    """Trace a network, write it to a file and print the file's hash."""
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        network,
        tuple(inputs.values()),
        target,
        input_names=list(inputs),
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=17,
        dynamo=False,
    )
    print(f"{hashlib.sha256(target.read_bytes()).hexdigest()}  {target}")


def describe(folder: Path, vocabulary_name: str, vocabulary: list[str], config: dict[str, object]) -> None:
    """Write the vocabulary and the configuration beside the networks."""
    lines = [f"{token} {number}\n" for number, token in enumerate(vocabulary)]
    (folder / vocabulary_name).write_text("".join(lines), encoding="utf-8")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def make_gigaam(folder: Path) -> None:
    """Make a network in the layout of GigaAM v3 CTC."""
    inputs = {"features": torch.zeros(2, 64, 400), "feature_lengths": torch.tensor([400, 300])}
    axes = {"features": {0: "N", 2: "T"}, "feature_lengths": {0: "N"}, "log_probs": {0: "N", 1: "T4"}}
    export(CtcNetwork(Onsets(4, 0.0)), inputs, ["log_probs"], axes, folder / "v3_ctc.onnx")
    config = {"model_type": "gigaam-v3-ctc", "version": "v3", "features_size": 64, "subsampling_factor": 4}
    describe(folder, "v3_vocab.txt", [SPACE, "\u043e", "<blk>"], config)


def make_parakeet(folder: Path) -> None:
    """Make networks in the layout of Parakeet TDT."""
    inputs = {"audio_signal": torch.zeros(2, 80, 400), "length": torch.tensor([400, 300])}
    axes = {
        "audio_signal": {0: "N", 2: "T"},
        "length": {0: "N"},
        "outputs": {0: "N", 2: "T8"},
        "encoded_lengths": {0: "N"},
    }
    encoder = TransducerEncoder(Onsets(8, 1.0))
    export(encoder, inputs, ["outputs", "encoded_lengths"], axes, folder / "encoder-model.onnx")
    step = {
        "encoder_outputs": torch.zeros(1, 1, 1),
        "targets": torch.zeros(1, 1, dtype=torch.int32),
        "target_length": torch.ones(1, dtype=torch.int32),
        "input_states_1": torch.zeros(1, 1, 1),
        "input_states_2": torch.zeros(1, 1, 1),
    }
    outputs = ["outputs", "output_states_1", "output_states_2"]
    export(TransducerDecoder(), step, outputs, {}, folder / "decoder_joint-model.onnx")
    config = {"model_type": "nemo-conformer-tdt", "features_size": 80, "subsampling_factor": 8}
    describe(folder, "vocab.txt", [f"{SPACE}tone", "<blk>"], config)


def make_canary(folder: Path) -> None:
    """Make networks in the layout of Canary."""
    inputs = {"audio_signal": torch.zeros(2, 80, 400), "length": torch.tensor([400, 300])}
    axes = {
        "audio_signal": {0: "N", 2: "T"},
        "length": {0: "N"},
        "encoder_embeddings": {0: "N", 1: "T8"},
        "encoder_mask": {0: "N", 1: "T8"},
    }
    encoder = AttentionEncoder(Onsets(8, 1.0))
    export(encoder, inputs, ["encoder_embeddings", "encoder_mask"], axes, folder / "encoder-model.onnx")
    step = {
        "input_ids": torch.zeros(2, 3, dtype=torch.int64),
        "encoder_embeddings": torch.zeros(2, 50, 1),
        "encoder_mask": torch.ones(2, 50, dtype=torch.int64),
        "decoder_mems": torch.zeros(1, 2, 7, 1),
    }
    axes = {
        "input_ids": {0: "N", 1: "L"},
        "encoder_embeddings": {0: "N", 1: "T8"},
        "encoder_mask": {0: "N", 1: "T8"},
        "decoder_mems": {1: "N", 2: "M"},
        "logits": {0: "N"},
        "decoder_hidden_states": {1: "N", 2: "ML"},
    }
    outputs = ["logits", "decoder_hidden_states"]
    export(AttentionDecoder(), step, outputs, axes, folder / "decoder-model.onnx")
    config = {"model_type": "nemo-conformer-aed", "features_size": 80}
    describe(folder, "vocab.txt", CANARY_VOCABULARY, config)


def main() -> None:
    """Make all three networks."""
    parser = argparse.ArgumentParser(description="Make three tiny networks that count tones.")
    parser.add_argument("--to", type=Path, default=Path("tests/networks"), help="folder to write folders into")
    to: Path = parser.parse_args().to
    make_gigaam(to / "gigaam-tones")
    make_parakeet(to / "parakeet-tones")
    make_canary(to / "canary-tones")


if __name__ == "__main__":
    main()
