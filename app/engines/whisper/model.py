"""A loaded Whisper model: identifies the languages of a window, decodes its texts, and repairs or replaces bad ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby, islice, pairwise
from math import sqrt
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import TypeVar

from ctranslate2 import get_cuda_device_count, get_supported_compute_types
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.transcription import TranscribeOptions, Word
from natscribe.schemas.wire import Model

from app.engines.audio.timeline import Times
from app.engines.audio.window_audio import WindowAudio, cut_in_two, part_of
from app.engines.family import ComputeOptions, check_precision
from app.engines.parallel import Parallel, balanced_groups
from app.engines.speech_model import ModelOutput, Text
from app.engines.text import vocabulary
from app.engines.text.coverage import MIN_GAP_S, digits, find_gaps, speech_seconds, word_times
from app.engines.text.languages import Evidence, choose_languages
from app.engines.text.loops import is_loop, too_fast, without_repeated_end
from app.engines.text.sentences import SENTENCE_ENDS, text_of
from app.engines.whisper.network import Decoded, DecodeOptions, Encoded, EncodedPart, Network, encoded_part
from app.runtime.errors import PermanentError

Item = TypeVar("Item")

_CERTAIN = 0.9  # a language with at least this probability is not detected a second time
_MIN_LANGUAGE_S = 1.0  # the language of a shorter region of speech cannot be identified reliably
_NO_SPEECH = 0.6  # a doubtful text is dropped if the probability that its audio has no speech is higher
_DOUBTFUL = -1.0  # a text with a lower mean log probability is doubtful
_SPREAD = 2  # a word of more than this many times the usual length includes the adjacent pause
_MAX_USUAL_S = 0.7  # upper limit of the usual length of a word


@dataclass(frozen=True, slots=True)
class _WindowLanguages:
    """A window with the probability of each language in each of its regions (`evidence`).

    `regions`: the start and end of each region, in seconds from the start of `audio`. `encoded`: the encoder's output
    by interval, for the whole audio, and for those regions that were encoded separately.
    """

    audio: WindowAudio
    regions: Sequence[Times]
    evidence: Sequence[Evidence]
    encoded: Mapping[Times, Encoded]


class Whisper:
    """A loaded Whisper model; implements `SpeechModel`."""

    def __init__(self, identity: Model, fingerprint: str, network: Network, parallel: Parallel) -> None:
        self.identity = identity
        self.fingerprint = fingerprint
        self.parallel = parallel
        self._network = network

    def check(self, options: TranscribeOptions) -> None:
        """Check that the model knows the language of the task, and can translate if the task requests it.

        Raises:
            PermanentError: invalid_message: the model does not support an option, which the message names.
        """
        name, language = self.identity.name, options.language
        if language is not None and not self._network.knows(language):
            message = f"The model {name!r} does not know the language {language!r}: name another one."
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)
        if options.translate and self._network.english_only:
            message = f"The model {name!r} knows English alone and cannot translate: leave `translate` out."
            raise PermanentError(ErrorCode.INVALID_MESSAGE, message)

    def transcribe(
        self,
        batch: Sequence[WindowAudio],
        options: TranscribeOptions,
        previous: Sequence[str | None],
        *,
        interim: bool = False,
    ) -> list[ModelOutput]:
        """Transcribe a batch of windows; `previous`: the language spoken before each window, None if unknown.

        `interim`: decode once, as quickly as possible, without beam search and the task's vocabulary; the output of a
        window whose text is a repetition loop has no words.

        With several threads, decoding starts while the last windows are still being encoded. On a GPU, windows are
        padded to the same length, so they are also encoded in batches.
        """
        decoding = DecodeOptions(prompt=options.prompt, translate=options.translate, interim=interim)
        sizes = balanced_groups([audio.seconds for audio in batch], self.parallel.count)
        encoder_batches = _sliced(batch, sizes if self._network.padded else [1] * len(batch))
        detected = chain.from_iterable(self.parallel.map(partial(self._detect, options), encoder_batches))
        groups = _sliced(zip(detected, previous, strict=True), sizes)
        return list(chain.from_iterable(self.parallel.map(partial(self._decode, options.vocabulary, decoding), groups)))

    def _detect(self, options: TranscribeOptions, batch: Sequence[WindowAudio]) -> list[_WindowLanguages]:
        encoded = zip(batch, self._network.encode(batch), strict=True)
        language = options.language or ("en" if self._network.english_only else None)
        if language is None:
            return [self._identify_languages(audio, whole) for audio, whole in encoded]
        return [
            _WindowLanguages(audio, [_whole(audio)], [{language: 1.0}], {_whole(audio): full})
            for audio, full in encoded
        ]

    def _identify_languages(self, audio: WindowAudio, whole: Encoded) -> _WindowLanguages:
        """Compute the probability of each language in each region of a window.

        `whole`: the encoder's output for the window. First the language of each region is detected in its part of this
        output, which takes little time. Then a region of uncertain language next to a region of another language is
        encoded separately, and its language is detected again.
        """
        encoded = {_whole(audio): whole}
        regions = list(audio.speech) or [_whole(audio)]
        if len(regions) == 1:
            return _WindowLanguages(audio, regions, [self._network.detect(whole)], encoded)
        evidence = [self._network.detect(encoded_part(whole, region)) for region in regions]
        for number in _uncertain_regions(regions, evidence):
            (alone,) = self._network.encode([part_of(audio, *regions[number])])
            encoded[regions[number]] = alone
            evidence[number] = _geometric_mean(evidence[number], self._network.detect(alone))
        return _WindowLanguages(audio, regions, evidence, encoded)

    def _decode(
        self, terms: Sequence[str], decoding: DecodeOptions, group: Sequence[tuple[_WindowLanguages, str | None]]
    ) -> list[ModelOutput]:
        """Decode the texts of several windows in one batch.

        `terms`: the task's vocabulary. `group`: each window with the language of the speech before it, None if unknown.
        """
        windows = [self._parts(detected, previous) for detected, previous in group]
        decoded = iter(self._network.decode([part for parts, _ in windows for part in parts], decoding))
        return [
            ModelOutput(
                [text for part in parts for text in self._texts(part, next(decoded), decoding, terms)],
                parts[-1].language,
                settled,
            )
            for parts, settled in windows
        ]

    def _parts(self, detected: _WindowLanguages, previous: str | None) -> tuple[list[EncodedPart], bool]:
        """Cut a window into parts where its language changes, and encode the parts.

        `previous`: the language of the speech before the window, None if unknown. Return the parts, and whether their
        languages would be the same whatever `previous` is.
        """
        lengths = [end - start for start, end in detected.regions]
        languages, settled = choose_languages(list(zip(lengths, detected.evidence, strict=True)), previous)
        parts = []
        for language, group in groupby(zip(detected.regions, languages, strict=True), key=itemgetter(1)):
            regions = [region for region, _ in group]
            span = (regions[0][0], regions[-1][1]) if len(set(languages)) > 1 else _whole(detected.audio)
            audio = part_of(detected.audio, *span)
            encoded = detected.encoded.get(span)
            if encoded is None:
                (encoded,) = self._network.encode([audio])
            parts.append(EncodedPart(audio, span[0], language, encoded))
        return parts, settled

    def _texts(self, part: EncodedPart, decoded: Decoded, decoding: DecodeOptions, terms: Sequence[str]) -> list[Text]:
        """Return the texts of a part of a window.

        If the text resembles some of the `terms` (the task's vocabulary), the part is decoded again with these terms,
        and the better text of the two is returned.
        """
        plain = self._without_loops(part, decoded, decoding)
        if decoding.interim:
            return plain
        decoding = replace(decoding, terms=vocabulary.likely_terms(terms, _joined(plain)))
        if not decoding.terms:
            return plain
        (decoded,) = self._network.decode([part], decoding)
        with_terms = self._without_loops(part, decoded, decoding)
        return with_terms if vocabulary.improves(_joined(plain), _joined(with_terms), decoding.terms) else plain

    def _without_loops(self, part: EncodedPart, decoded: Decoded, decoding: DecodeOptions) -> list[Text]:
        """Return the texts of a part of a window; [] if it contains no speech.

        If the text is a hallucination loop, return the texts of the two halves of the part, each decoded again (not in
        an interim pass). If they are a loop as well, or empty, return texts without words. Exception: the first text is
        returned if a person could speak that fast, and the new texts would leave over 1 s more of speech without words.
        """
        if self._is_silent(part, decoded):
            return []
        text = self._timed(part, decoded, decoding)
        if not _is_loop([text], part):
            return [text]
        if decoding.interim:
            return [replace(text, words=[])]
        retried = list(self._decode_halves(part, decoding))
        if _is_loop(retried, part):
            retried = [replace(text, words=[])]
        is_possible = not too_fast([word.word for word in text.words], part.audio.seconds)
        lost_seconds = _seconds_without_words(retried, part) - _seconds_without_words([text], part)
        return [text] if is_possible and lost_seconds > MIN_GAP_S else retried

    def _decode_halves(self, part: EncodedPart, decoding: DecodeOptions) -> Iterator[Text]:
        """Cut a part in two at its widest pause, and decode each half, because short audio causes fewer loops."""
        for start, audio in cut_in_two(part.audio):
            half = EncodedPart(audio, part.start + start, part.language, self._network.encode([audio])[0])
            (decoded,) = self._network.decode([half], decoding)
            if self._is_silent(half, decoded):
                continue
            text = self._timed(half, decoded, decoding)
            if _is_loop([text], half):
                (decoded,) = self._network.decode([half], replace(decoding, break_loops=True))
                text = self._timed(half, decoded, decoding)
            yield text

    def _is_silent(self, part: EncodedPart, decoded: Decoded) -> bool:
        doubtful = decoded.avg_logprob < _DOUBTFUL or not _has_letters(self._network.text(part, decoded))
        return decoded.no_speech_prob > _NO_SPEECH and doubtful

    def _timed(self, part: EncodedPart, decoded: Decoded, decoding: DecodeOptions) -> Text:
        text, words = self._network.text(part, decoded), list[Word]()
        if _has_letters(text):
            aligned = self._network.words(part, decoded, translate=decoding.translate)
            words = _without_pauses(without_repeated_end(aligned))
            words = words or [Word(start=part.start, end=part.start + part.audio.seconds, word=text, probability=0.0)]
        return Text(words, part.language, decoded.avg_logprob, decoded.no_speech_prob)


def load(folder: Path, identity: Model, options: ComputeOptions) -> Whisper:
    """Load a Whisper model from its folder.

    Raises:
        PermanentError: unknown_model: the files are damaged or of another kind, or the device cannot be used or does
            not support the precision in `options`.
    """
    device, has_gpu = options.device, get_cuda_device_count() > 0
    if device == "auto":
        device = "cuda" if has_gpu else "cpu"
    compute_type = options.compute_type or ("float16" if device == "cuda" else "int8")
    at_once = 1 if device == "cuda" else options.at_once
    try:
        if device == "cpu" or has_gpu:  # otherwise the device is wrong, not the precision
            check_precision(identity.name, compute_type, get_supported_compute_types(device))
        options = replace(options, device=device, compute_type=compute_type, at_once=at_once)
        network = Network(str(folder), options, padded=device == "cuda")
    except (RuntimeError, ValueError, OSError) as error:
        message = (
            f"The model {identity.name!r} cannot be loaded: its files are damaged or of another kind, "
            "or ENGINE_DEVICE does not suit this machine."
        )
        raise PermanentError(ErrorCode.UNKNOWN_MODEL, message) from error
    fingerprint = f"{device} {compute_type} beam {options.beam}"
    return Whisper(identity, fingerprint, network, Parallel(at_once))


def _sliced(items: Iterable[Item], sizes: Iterable[int]) -> Iterator[list[Item]]:
    """Yield successive items in lists of the given sizes; the items of a list are read when the list is requested."""
    remaining = iter(items)
    return (list(islice(remaining, size)) for size in sizes)


def _whole(audio: WindowAudio) -> Times:
    return 0.0, audio.seconds


def _uncertain_regions(regions: Sequence[Times], evidence: Sequence[Evidence]) -> list[int]:
    """Return the indices of the regions whose language is uncertain and differs from that of a neighbouring region.

    Regions of less than 1 s are ignored, also as neighbours. `evidence`: the language probabilities of each region.
    """
    long = [number for number, (start, end) in enumerate(regions) if end - start >= _MIN_LANGUAGE_S]
    best = {number: max(evidence[number], key=lambda language: evidence[number][language]) for number in long}
    changes = [pair for pair in pairwise(long) if best[pair[0]] != best[pair[1]]]
    return sorted({number for pair in changes for number in pair if evidence[number][best[number]] < _CERTAIN})


def _geometric_mean(first: Evidence, second: Evidence) -> Evidence:
    """Combine two language detections: return the geometric mean of the two probabilities of each language."""
    return {language: sqrt(first[language] * second.get(language, 0.0)) for language in first}


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _is_loop(texts: Sequence[Text], part: EncodedPart) -> bool:
    return is_loop([word.word for text in texts for word in text.words], part.audio.seconds)


def _joined(texts: Sequence[Text]) -> str:
    return text_of(word for text in texts for word in text.words)


def _seconds_without_words(texts: Sequence[Text], part: EncodedPart) -> float:
    """Return how many seconds of speech in a part have no words in `texts`."""
    speech = part.audio.speech
    times = word_times((word for text in texts for word in text.words), speech, part.start)
    return sum(speech_seconds(speech, *gap) for gap in find_gaps(times, speech, part.audio.seconds))


def _without_pauses(words: Sequence[Word]) -> list[Word]:
    """Shorten the first and last words of sentences if their times include the pause before or after the sentence.

    Such words are shortened to a limit: twice the duration of the median word, at most 1.4 s, as in faster-whisper. For
    a number, the limit is multiplied by its number of digits.
    """
    usual = _SPREAD * min(median([word.end - word.start for word in words] or [0.0]), _MAX_USUAL_S)
    shortened: list[Word] = []
    for number, word in enumerate(words):
        changes, longest = {}, usual * max(1, digits(word))
        if word.end - word.start > longest > 0:
            if word.word.rstrip().endswith(SENTENCE_ENDS):
                changes = {"end": word.start + longest}
            elif not number or words[number - 1].word.rstrip().endswith(SENTENCE_ENDS):
                changes = {"start": word.end - longest}
        shortened.append(word.model_copy(update=changes))
    return shortened
