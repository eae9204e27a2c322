"""Whisper models: find the languages of a window's sound, decode its texts, and choose which texts to keep."""

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
from app.engines.family import Computing, check_precision
from app.engines.parallel import Parallel, in_groups
from app.engines.speech_model import ModelOutput, Text
from app.engines.text import vocabulary
from app.engines.text.coverage import LEAST_S, digits, gaps, spoken, word_times
from app.engines.text.languages import Evidence, languages_of
from app.engines.text.loops import loops, too_fast, without_echo
from app.engines.text.sentences import SENTENCE_ENDS, text_of
from app.engines.whisper.network import Decoded, DecodeOptions, Encoded, EncodedPart, Network, encoded_part
from app.errors import PermanentError

Item = TypeVar("Item")

_SURE = 0.9  # a language with at least this probability is not detected a second time
_TELLING_S = 1.0  # the language of a shorter region of speech cannot be detected reliably
_NO_SPEECH = 0.6  # a doubtful text is dropped if the probability that its sound has no speech is higher
_DOUBTFUL = -1.0  # a text with a lower mean log probability is doubtful
_SPREAD = 2  # a word that is more than this many times as long as usual includes the pause next to the word
_LONGEST_USUAL_S = 0.7  # upper limit of the usual length of a word


@dataclass(frozen=True, slots=True)
class _Detected:
    """A window's sound, its regions, and how probable each language is in each region.

    `encoded`: the encoder's output for the whole sound, and for each region that was encoded on its own.
    """

    sound: WindowAudio
    regions: Sequence[Times]
    evidence: Sequence[Evidence]
    encoded: Mapping[Times, Encoded]


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of a window's sound: consecutive regions in one language, from second `start` of the window on.

    `encoded`: the encoder's output for these regions, null if they were not encoded on their own yet.
    """

    sound: WindowAudio
    start: float
    language: str
    encoded: Encoded | None


@dataclass(frozen=True, slots=True)
class _InParts:
    """A window's sound, cut where the language changes.

    `settled`: the languages would be the same after any other language before the window.
    """

    parts: Sequence[_Part]
    settled: bool


class Whisper:
    """A loaded Whisper model."""

    def __init__(self, identity: Model, fingerprint: str, network: Network, parallel: Parallel) -> None:
        self.identity = identity
        self.fingerprint = fingerprint
        self.parallel = parallel
        self._network = network

    def check(self, options: TranscribeOptions) -> None:
        """Check that the model knows the language of the task, and that it can translate if the task asks for it.

        Raises:
            PermanentError: invalid_message: it does not or cannot; the message names the option.
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
        sounds: Sequence[WindowAudio],
        options: TranscribeOptions,
        previous: Sequence[str | None],
        *,
        interim: bool = False,
    ) -> list[ModelOutput]:
        """Transcribe sounds; `previous` is the language spoken before each sound, null if unknown.

        An interim pass decodes once, without several candidates and without the vocabulary; a loop gives no words.

        With several threads, decoding begins while the last sounds are still encoded. On a GPU sounds are encoded in
        batches, too, because all are padded to the same length.
        """
        decoding = DecodeOptions(prompt=options.prompt, translate=options.translate, interim=interim)
        sizes = in_groups([sound.seconds for sound in sounds], self.parallel.count)
        batches = _sliced(sounds, sizes if self._network.padded else [1] * len(sounds))
        detected = chain.from_iterable(self.parallel.map(partial(self._detect, options), batches))
        groups = _sliced(map(_in_languages, detected, previous), sizes)
        done = chain.from_iterable(self.parallel.map(partial(self._decoded, options.vocabulary, decoding), groups))
        return [ModelOutput(texts, sound.parts[-1].language, sound.settled) for sound, texts in done]

    def _detect(self, options: TranscribeOptions, sounds: Sequence[WindowAudio]) -> list[_Detected]:
        encoded = zip(sounds, self._network.encode(sounds), strict=True)
        known = options.language or ("en" if self._network.english_only else None)
        if known is None:
            return [self._languages(sound, whole) for sound, whole in encoded]
        return [_Detected(sound, [_whole(sound)], [{known: 1.0}], {_whole(sound): whole}) for sound, whole in encoded]

    def _languages(self, sound: WindowAudio, whole: Encoded) -> _Detected:
        """Detect how probable each language is in each region of a sound.

        A region is first judged by its part of the encoded sound, which takes little time. A region with an uncertain
        language that is next to another language is then encoded on its own and judged again.
        """
        encoded = {_whole(sound): whole}
        regions = list(sound.speech) or [_whole(sound)]
        if len(regions) == 1:
            return _Detected(sound, regions, [self._network.detect(whole)], encoded)
        evidence = [self._network.detect(encoded_part(whole, region)) for region in regions]
        for number in _doubtful(regions, evidence):
            (alone,) = self._network.encode([part_of(sound, *regions[number])])
            encoded[regions[number]] = alone
            evidence[number] = _both(evidence[number], self._network.detect(alone))
        return _Detected(sound, regions, evidence, encoded)

    def _decoded(
        self, terms: Sequence[str], decoding: DecodeOptions, sounds: Sequence[_InParts]
    ) -> list[tuple[_InParts, list[Text]]]:
        """Decode the texts of a group of sounds in one batch."""
        parts = [self._encoded(part) for sound in sounds for part in sound.parts]
        texts = (
            self._interim(part, each, decoding) if decoding.interim else self._text(part, each, decoding, terms)
            for part, each in zip(parts, self._network.decode(parts, decoding), strict=True)
        )
        return [(sound, list(chain.from_iterable(islice(texts, len(sound.parts))))) for sound in sounds]

    def _encoded(self, part: _Part) -> EncodedPart:
        encoded = self._network.encode([part.sound])[0] if part.encoded is None else part.encoded
        return EncodedPart(part.sound, part.start, part.language, encoded)

    def _interim(self, part: EncodedPart, decoded: Decoded, decoding: DecodeOptions) -> list[Text]:
        if self._silent(part, decoded):
            return []
        text = self._timed(part, decoded, decoding)
        return [replace(text, words=[]) if _looping([text], part) else text]

    def _text(self, part: EncodedPart, decoded: Decoded, decoding: DecodeOptions, terms: Sequence[str]) -> list[Text]:
        """Return the texts of a part; if terms may occur in it, decode it again with them and keep the better texts."""
        plain = self._best(part, decoded, decoding)
        decoding = replace(decoding, terms=vocabulary.likely(terms, _joined(plain)))
        if not decoding.terms:
            return plain
        (again,) = self._network.decode([part], decoding)
        with_terms = self._best(part, again, decoding)
        return with_terms if vocabulary.improves(_joined(plain), _joined(with_terms), decoding.terms) else plain

    def _best(self, part: EncodedPart, decoded: Decoded, decoding: DecodeOptions) -> list[Text]:
        """Return the texts of a part, none if it has no speech; if the text loops, decode the part again, cut in two.

        If both new texts together loop, too, their words are dropped. The first text is kept nevertheless if somebody
        can speak as fast and the new texts leave over a second more of speech without words.
        """
        if self._silent(part, decoded):
            return []
        text = self._timed(part, decoded, decoding)
        if not _looping([text], part):
            return [text]
        again = [text for half in self._halves(part) for text in self._unlooped(half, decoding)]
        if _looping(again, part):
            again = [replace(text, words=[])]
        possible = not too_fast([word.word for word in text.words], part.sound.seconds)
        lost = _seconds_without_words(again, part) - _seconds_without_words([text], part)
        return [text] if possible and lost > LEAST_S else again

    def _halves(self, part: EncodedPart) -> list[EncodedPart]:
        """Cut a part in two, in its widest pause, and encode both: models loop less often on shorter sound."""
        halves = cut_in_two(part.sound)
        encoded = [self._network.encode([sound])[0] for _, sound in halves]
        return [
            EncodedPart(sound, part.start + start, part.language, whole)
            for (start, sound), whole in zip(halves, encoded, strict=True)
        ]

    def _unlooped(self, part: EncodedPart, decoding: DecodeOptions) -> Iterator[Text]:
        (decoded,) = self._network.decode([part], decoding)
        if self._silent(part, decoded):
            return
        text = self._timed(part, decoded, decoding)
        if _looping([text], part):
            (again,) = self._network.decode([part], replace(decoding, break_loops=True))
            text = self._timed(part, again, decoding)
        yield text

    def _silent(self, part: EncodedPart, decoded: Decoded) -> bool:
        doubtful = decoded.avg_logprob < _DOUBTFUL or not _has_letters(self._network.text(part, decoded))
        return decoded.no_speech_prob > _NO_SPEECH and doubtful

    def _timed(self, part: EncodedPart, decoded: Decoded, decoding: DecodeOptions) -> Text:
        text, words = self._network.text(part, decoded), list[Word]()
        if _has_letters(text):
            words = _tightened(without_echo(self._network.words(part, decoded, translate=decoding.translate)))
            words = words or [Word(start=part.start, end=part.start + part.sound.seconds, word=text, probability=0.0)]
        return Text(words, part.language, decoded.avg_logprob, decoded.no_speech_prob)


def load(folder: Path, identity: Model, computing: Computing) -> Whisper:
    """Load a Whisper model from its folder.

    Raises:
        PermanentError: unknown_model: the files are damaged or of another kind, the device cannot be used, or cannot
            compute with this precision.
    """
    device, has_gpu = computing.device, get_cuda_device_count() > 0
    if device == "auto":
        device = "cuda" if has_gpu else "cpu"
    compute_type = computing.compute_type or ("float16" if device == "cuda" else "int8")
    at_once = 1 if device == "cuda" else computing.at_once
    try:
        if device == "cpu" or has_gpu:  # else the device is wrong, not the precision
            check_precision(identity.name, compute_type, get_supported_compute_types(device))
        computing = replace(computing, device=device, compute_type=compute_type, at_once=at_once)
        network = Network(str(folder), computing, padded=device == "cuda")
    except (RuntimeError, ValueError, OSError) as error:
        message = (
            f"The model {identity.name!r} cannot be loaded: its files are damaged or of another kind, "
            "or ENGINE_DEVICE does not suit this machine."
        )
        raise PermanentError(ErrorCode.UNKNOWN_MODEL, message) from error
    fingerprint = f"{device} {compute_type} beam {computing.beam}"
    return Whisper(identity, fingerprint, network, Parallel(at_once))


def _sliced(items: Iterable[Item], sizes: Iterable[int]) -> Iterator[list[Item]]:
    """Yield consecutive items in lists of these sizes; no item is read before the caller asks for its list."""
    remaining = iter(items)
    return (list(islice(remaining, size)) for size in sizes)


def _in_languages(detected: _Detected, previous: str | None) -> _InParts:
    """Choose the language of each region of a window, given the language before it, and cut where it changes."""
    parts = [(end - start, each) for (start, end), each in zip(detected.regions, detected.evidence, strict=True)]
    languages, settled = languages_of(parts, previous)
    return _InParts(list(_parts(detected, languages)), settled)


def _parts(detected: _Detected, languages: Sequence[str]) -> Iterator[_Part]:
    """Cut a window's sound where the language changes."""
    sound, several = detected.sound, len(set(languages)) > 1
    for language, of_part in groupby(zip(detected.regions, languages, strict=True), key=itemgetter(1)):
        regions = [region for region, _ in of_part]
        start, end = times = (regions[0][0], regions[-1][1]) if several else _whole(sound)
        yield _Part(part_of(sound, start, end), start, language, detected.encoded.get(times))


def _whole(sound: WindowAudio) -> Times:
    return 0.0, sound.seconds


def _doubtful(regions: Sequence[Times], found: Sequence[Evidence]) -> list[int]:
    """Return the numbers of the regions whose language is uncertain, and another one than that of a neighbour.

    Only regions of a second or more count, as neighbours, too.
    """
    telling = [number for number, (start, end) in enumerate(regions) if end - start >= _TELLING_S]
    best = {number: max(found[number], key=lambda language: found[number][language]) for number in telling}
    changes = [(one, other) for one, other in pairwise(telling) if best[one] != best[other]]
    return sorted({number for change in changes for number in change if found[number][best[number]] < _SURE})


def _both(one: Evidence, other: Evidence) -> Evidence:
    """Return the geometric mean of two detections: a language with the probability 0 in one of them gets 0."""
    return {language: sqrt(one[language] * other.get(language, 0.0)) for language in one}


def _has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _looping(texts: Sequence[Text], part: EncodedPart) -> bool:
    return loops([word.word for text in texts for word in text.words], part.sound.seconds)


def _joined(texts: Sequence[Text]) -> str:
    return text_of(word for text in texts for word in text.words)


def _seconds_without_words(texts: Sequence[Text], part: EncodedPart) -> float:
    """Count the seconds of speech in a part for which the texts have no words."""
    times = word_times((word for text in texts for word in text.words), part.sound.speech, part.start)
    return sum(spoken(part.sound.speech, *gap) for gap in gaps(times, part.sound.speech, part.sound.seconds))


def _tightened(words: Sequence[Word]) -> list[Word]:
    """Shorten the first and last words of sentences if their times include the pause before or after the sentence.

    As in faster-whisper, the times of a word include a pause if the word lasts more than twice as long as the median
    word of the text, which counts as 0.7 s at most. For a number this limit is multiplied by the count of its digits.
    """
    usual = _SPREAD * min(median([word.end - word.start for word in words] or [0.0]), _LONGEST_USUAL_S)
    found: list[Word] = []
    for number, word in enumerate(words):
        changed, longest = {}, usual * max(1, digits(word))
        if word.end - word.start > longest > 0:
            if word.word.rstrip().endswith(SENTENCE_ENDS):
                changed = {"end": word.start + longest}
            elif not number or words[number - 1].word.rstrip().endswith(SENTENCE_ENDS):
                changed = {"start": word.end - longest}
        found.append(word.model_copy(update=changed))
    return found
