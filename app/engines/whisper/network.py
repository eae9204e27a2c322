"""Whisper's network: the only module that handles the untyped objects of faster-whisper and CTranslate2.

On a CPU each window is encoded on its own, followed by 1 s of silence, and not padded to the 30 s that Whisper was
trained on: the time to encode grows faster than the length, and batches are encoded no faster than single windows. But
batches are decoded faster. All members of a batch need the same length, so the encoded silence at the end is repeated
up to one of two fixed lengths. As these do not depend on the other members, the other members do not change the text.

On a GPU each window is padded to 30 s, and both encoding and decoding work on batches.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
import numpy.typing as npt
from ctranslate2 import StorageView
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens, merge_punctuations
from natscribe.schemas.transcription import Word

from app.engines.audio.timeline import Times
from app.engines.audio.window_audio import WindowAudio
from app.engines.family import ComputeOptions
from app.engines.text.languages import Evidence
from app.engines.windows import MAX_WINDOW_S

Encoded = npt.NDArray[np.float32]  # (frames, width)

FRAMES_PER_SECOND = 50  # frames of the encoder's output per second of audio; the encoder's input has twice as many
_MAX_S = 30.0  # longest input of the encoder
_MIN_S = 10.0  # shortest input (audio and silence): with less, languages and short words are misrecognized
_SILENCE_S = 1.0  # silence after the audio: without silence the last word is often missed
# The two lengths of encoded audio in a batch, in frames.
_PADDED_TO = [ceil(seconds * FRAMES_PER_SECOND) for seconds in (_MIN_S, MAX_WINDOW_S + _SILENCE_S)]
_REPEATED_FRAMES = 40  # frames (0.8 s) of silence that padding repeats; a single repeated frame is decoded as speech
# The longest text: 40 tokens plus 25 per second. Nobody speaks faster, but a loop would fill the model's context.
_TOKENS_PER_SECOND, _MIN_TOKENS = 25, 40
_PROMPT_TOKENS, _TERM_TOKENS = 220, 110  # limits of the prompt with its terms, and of the terms; a context has 448
_NO_REPEAT_TOKENS = 3  # with `break_loops`, no sequence of this many tokens occurs twice
_PREPENDED = "\"'“¿([{-«"  # marks that belong to the word after them; _APPENDED: to the word before them
_APPENDED = "\"'.。,，!！?？:：”)]}、»"  # noqa: RUF001 -- other scripts have marks of their own


@dataclass(frozen=True, slots=True)
class EncodedPart:
    """A part of a window that is in one language, with the encoder's output for it.

    `start`: where the part starts, in seconds from the start of the window.
    """

    audio: WindowAudio
    start: float
    language: str
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class Decoded:
    """The decoder's output for a part of a window.

    `tokens`: those of the text. `avg_logprob`: their mean log probability. `no_speech_prob`: the probability that the
    part contains no speech.
    """

    tokens: Sequence[int]
    avg_logprob: float
    no_speech_prob: float


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How the decoder decodes, and its input besides the audio: the prompt, and `terms` that may occur in the text.

    `translate`: translate into English. `break_loops`: let no sequence of three tokens occur twice. `interim`: decode
    greedily instead of with beam search.
    """

    prompt: str | None = None
    terms: Sequence[str] = ()
    translate: bool = False
    break_loops: bool = False
    interim: bool = False


class Network:
    """A loaded Whisper network, whose output for a window does not depend on the rest of the batch.

    There is one exception: the length of a text with a hallucination loop, because the longest window of the batch
    limits the number of tokens of each text.
    """

    def __init__(self, folder: str, options: ComputeOptions, *, padded: bool) -> None:
        """Load the network from a folder; `padded`: pad each window to 30 s, and encode in batches.

        Raises:
            RuntimeError, ValueError, OSError: The files are damaged, or the device cannot be used.
        """
        self._model = WhisperModel(
            folder,
            device=options.device,
            compute_type=options.compute_type,
            cpu_threads=options.threads,
            num_workers=options.at_once,
            local_files_only=True,
        )
        self._beam = options.beam
        self.padded = padded
        self._tokenizers: dict[tuple[str, bool], Tokenizer] = {}

    @property
    def english_only(self) -> bool:
        """Whether the network was trained on English alone."""
        return not self._model.model.is_multilingual

    def knows(self, language: str) -> bool:
        """Return whether the network was trained on this language."""
        if self.english_only:
            return language == "en"
        return self._model.hf_tokenizer.token_to_id(f"<|{language}|>") is not None

    def encode(self, batch: Sequence[WindowAudio]) -> list[Encoded]:
        """Encode a batch of windows; return the encoder's output for each window, shape (frames, width)."""
        features = [self._features(audio) for audio in batch]
        if self.padded:
            return list(self._encoded(np.stack(features)))
        return [self._encoded(feature[np.newaxis])[0] for feature in features]

    def detect(self, encoded: Encoded) -> Evidence:
        """Detect the language: return the probability (0 to 1) of each language, by language code."""
        (probabilities,) = self._model.model.detect_language(_view(encoded[np.newaxis]))
        return {token[2:-2]: probability for token, probability in probabilities}

    def decode(self, parts: Sequence[EncodedPart], decoding: DecodeOptions) -> list[Decoded]:
        """Decode the text of each part, in order; parts that are padded to the same length form one batch.

        The parts may belong to several windows.
        """
        padded = [_padded(part.encoded) for part in parts]
        decoded: dict[int, Decoded] = {}
        for length in sorted({len(array) for array in padded}):
            batch = [number for number, array in enumerate(padded) if len(array) == length]
            encoded = np.stack([padded[number] for number in batch])
            texts = self._decode_batch([parts[number] for number in batch], encoded, decoding)
            decoded |= zip(batch, texts, strict=True)
        return [decoded[number] for number in range(len(parts))]

    def text(self, part: EncodedPart, decoded: Decoded) -> str:
        """Convert the decoded tokens of a part to text."""
        return str(self._tokenizer(part.language, translate=False).decode(decoded.tokens))

    def words(self, part: EncodedPart, decoded: Decoded, *, translate: bool) -> list[Word]:
        """Return the words of a decoded text, with timestamps in seconds from the start of the window.

        They are aligned by the decoder's attention, which adds a twelfth to the time of decoding. `translate`: whether
        the text is a translation.
        """
        tokenizer = self._tokenizer(part.language, translate=translate)
        frames = 2 * min(ceil(part.audio.seconds * FRAMES_PER_SECOND), len(part.encoded))
        encoded = _view(part.encoded[np.newaxis])
        (aligned,) = self._model.find_alignment(tokenizer, [list(decoded.tokens)], encoded, frames)
        merge_punctuations(aligned, _PREPENDED, _APPENDED)
        return [
            Word(
                start=part.start + float(word["start"]),
                end=part.start + max(float(word["end"]), float(word["start"])),
                word=word["word"],
                probability=min(max(float(word["probability"]), 0.0), 1.0),
            )
            for word in aligned
            if word["word"]
        ]

    def _features(self, audio: WindowAudio) -> Encoded:
        seconds = _MAX_S if self.padded else min(max(audio.seconds + _SILENCE_S, _MIN_S), _MAX_S)
        frames = 2 * ceil(seconds * FRAMES_PER_SECOND)
        features = self._model.feature_extractor(audio.samples)[:, :frames]
        # Zeros, as in faster-whisper, are the features of a faint noise; those of digital silence are no better.
        return np.pad(features, ((0, 0), (0, frames - features.shape[1])))

    def _encoded(self, features: Encoded) -> Encoded:
        return np.asarray(self._model.model.encode(_view(features), to_cpu=True))

    def _decode_batch(self, parts: Sequence[EncodedPart], encoded: Encoded, decoding: DecodeOptions) -> list[Decoded]:
        prompts = [self._prompt(part, decoding) for part in parts]
        longest = _MAX_S if self.padded else max(part.audio.seconds for part in parts)
        tokens = max(map(len, prompts)) + 2 * (_MIN_TOKENS + ceil(longest * _TOKENS_PER_SECOND))
        results = self._model.model.generate(
            _view(encoded),
            prompts,
            beam_size=1 if decoding.interim else self._beam,
            max_length=min(tokens, self._model.max_length),  # CTranslate2 generates at most half as many
            suppress_tokens=self._suppressed,
            no_repeat_ngram_size=_NO_REPEAT_TOKENS if decoding.break_loops else 0,
            return_scores=True,
            return_no_speech_prob=True,
        )
        eot = self._tokenizer("en", translate=False).eot
        return [_decoded(result.sequences_ids[0], result.scores[0], result.no_speech_prob, eot) for result in results]

    def _prompt(self, part: EncodedPart, decoding: DecodeOptions) -> list[int]:
        """Return the tokens that precede the text in the decoder: prompt and vocabulary of `decoding`, and language.

        Terms beyond _TERM_TOKENS tokens are left out. If prompt and terms together have more than _PROMPT_TOKENS
        tokens, the start of the prompt is left out.
        """
        tokenizer = self._tokenizer(part.language, translate=decoding.translate)
        terms, length = list[str](), 0
        for term in decoding.terms:
            length += len(tokenizer.encode(f" {_plain(term)},"))
            if length <= _TERM_TOKENS:
                terms.append(_plain(term))
        before = tokenizer.encode(" " + _plain(decoding.prompt).strip()) if decoding.prompt else []
        before = before[-(_PROMPT_TOKENS - min(length, _TERM_TOKENS)) :]
        hotwords = ", ".join(terms) or None
        return list(self._model.get_prompt(tokenizer, before, without_timestamps=True, hotwords=hotwords))

    def _tokenizer(self, language: str, *, translate: bool) -> Tokenizer:
        key = (language, translate)
        if key not in self._tokenizers:
            task = "translate" if translate else "transcribe"
            multilingual = not self.english_only
            self._tokenizers[key] = Tokenizer(self._model.hf_tokenizer, multilingual, task=task, language=language)
        return self._tokenizers[key]

    @cached_property
    def _suppressed(self) -> list[int]:
        return list(get_suppressed_tokens(self._tokenizer("en", translate=False), [-1]))


def _plain(text: str) -> str:
    """Return a text in which control tokens such as <|translate|> become ordinary text, by changing their brackets."""
    return text.replace("<|", "<").replace("|>", ">")


def _padded(encoded: Encoded) -> Encoded:
    """Pad encoded audio to the smaller of two fixed lengths that it fits into, by repeating the silence at its end."""
    length = next((length for length in _PADDED_TO if length >= len(encoded)), len(encoded))
    silence = encoded[-_REPEATED_FRAMES:]
    repeated = np.tile(silence, (ceil((length - len(encoded)) / len(silence)), 1))
    return np.concatenate([encoded, repeated])[:length]


def encoded_part(encoded: Encoded, region: Times) -> Encoded:
    """Return the part of the encoder's output that belongs to a region of the audio, given by its times in seconds."""
    return encoded[int(region[0] * FRAMES_PER_SECOND) : ceil(region[1] * FRAMES_PER_SECOND)]


def _decoded(tokens: Sequence[int], score: float, no_speech_prob: float, eot: int) -> Decoded:
    text = [token for token in tokens if token < eot]
    return Decoded(text, score * len(tokens) / (len(tokens) + 1), min(max(no_speech_prob, 0.0), 1.0))


def _view(array: npt.NDArray[np.float32]) -> StorageView:
    return StorageView.from_array(np.ascontiguousarray(array))
