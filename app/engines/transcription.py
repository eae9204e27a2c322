"""Transcribe windows to segments with a model of any family; transcribe gaps again, and report the gaps that stay."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from time import monotonic

from natscribe.schemas.transcription import Interval, Segment, TranscribeOptions, Word
from natscribe.schemas.windows import Window, WindowText

from app.engines.audio.samples import unpack
from app.engines.audio.timeline import Timeline, Times
from app.engines.audio.window_audio import WindowAudio, cut_in_two, part_of
from app.engines.messages import Transcribe, WindowsTranscribed
from app.engines.speech_model import ModelOutput, SpeechModel, Text
from app.engines.text.coverage import gaps, word_times
from app.engines.text.sentences import sentences, text_of

_MOST_GAPS = 6  # most gaps of a sound that are transcribed again
_TELLING_S = 2.0  # the language of a shorter gap cannot be detected reliably
_BELIEVED = -1.0  # lowest mean log probability of a text that fills a gap


def transcribe(model: SpeechModel, job: Transcribe) -> WindowsTranscribed:
    """Transcribe a batch of windows, and, unless the pass is interim, transcribe the gaps in their texts again.

    Raises:
        PermanentError: invalid_message: the model cannot follow the options.
    """
    model.check(job.options)
    started = monotonic()
    sounds = [WindowAudio(unpack(window.samples), Timeline(window.regions).speech) for window in job.windows]
    answers = model.transcribe(sounds, job.options, job.previous, interim=job.interim)
    sounds, answers = _without_context(job.windows, sounds, answers)
    if job.interim:
        filled: Iterator[Sequence[Text]] = (answer.texts for answer in answers)
    else:
        filled = model.parallel.map(
            lambda each: _filled(model, each[0], each[1].texts, job.options), zip(sounds, answers, strict=True)
        )
    texts = [_window_text(*each) for each in zip(job.windows, sounds, answers, filled, strict=True)]
    return WindowsTranscribed(texts=texts, seconds=monotonic() - started)


def _without_context(
    windows: Sequence[Window], sounds: Sequence[WindowAudio], answers: Sequence[ModelOutput]
) -> tuple[list[WindowAudio], list[ModelOutput]]:
    """Return the sounds without the regions of their windows' context, and the answers without the words in them."""
    found = [_own(*each) if each[0].context else each[1:] for each in zip(windows, sounds, answers, strict=True)]
    return [sound for sound, _ in found], [answer for _, answer in found]


def _own(window: Window, sound: WindowAudio, answer: ModelOutput) -> tuple[WindowAudio, ModelOutput]:
    timeline = Timeline(window.regions)
    texts = [
        replace(text, words=[word for word in text.words if timeline.word(word).start >= window.start])
        for text in answer.texts
    ]
    return replace(sound, speech=sound.speech[window.context :]), replace(answer, texts=texts)


def _window_text(window: Window, sound: WindowAudio, answer: ModelOutput, texts: Sequence[Text]) -> WindowText:
    """Make the text of a window: place the texts of its sound in the recording, and list the gaps that are left.

    `answer`: the model's answer for the whole sound, before its gaps were transcribed again.
    """
    timeline = Timeline(window.regions)
    segments = [segment for text in texts for segment in _segments(text, timeline)]
    return WindowText(
        segments=sorted(segments, key=lambda segment: segment.start),
        untranscribed=[
            Interval(start=start, end=end) for gap in _gaps(texts, sound) for start, end in timeline.in_recording(*gap)
        ],
        language=answer.language,
        settled=answer.settled,
        end=window.end,
        channel=window.channel,
    )


def _filled(model: SpeechModel, sound: WindowAudio, texts: Sequence[Text], options: TranscribeOptions) -> list[Text]:
    """Transcribe the gaps in a window's texts again, up to six, each as a sound of its own; return all texts.

    If the whole window is one gap, it is cut in two first. Where the new text leaves a part of its gap without words,
    this part is a new gap. Gaps beyond the sixth, and those whose new text is improbable, stay.
    """
    found, tried = list(texts), set[Times]()
    while new := [gap for gap in _gaps(found, sound) if gap not in tried][: _MOST_GAPS - len(tried)]:
        tried.update(new)
        for start, end in new:
            whole = end - start >= sound.seconds
            parts = cut_in_two(sound) if whole else [(start, part_of(sound, start, end))]
            again = _again(model, parts, options, _language_before(found, start))
            found = [*_cut(found, start), *again] if again else found
    return found


def _gaps(texts: Sequence[Text], sound: WindowAudio) -> list[Times]:
    """Find the gaps in a window's texts; a window without any text has no speech, and so no gaps."""
    words = [word for text in texts for word in text.words]
    return gaps(word_times(words, sound.speech), sound.speech, sound.seconds) if texts else []


def _cut(texts: Sequence[Text], second: float) -> Iterator[Text]:
    """Yield the texts, cut where a gap begins, at `second`; a word that seems to last into the gap ends there."""
    for text in texts:
        before = [_ended(word, second) for word in text.words if word.start < second]
        after = [word for word in text.words if word.start >= second]
        for words in (before, after):
            if words:
                yield replace(text, words=words)


def _ended(word: Word, second: float) -> Word:
    return word.model_copy(update={"end": min(word.end, second)})


def _again(
    model: SpeechModel, parts: Sequence[tuple[float, WindowAudio]], options: TranscribeOptions, language: str | None
) -> list[Text]:
    """Transcribe a gap again; `parts`: its sounds, each with the second at which it begins in the window.

    `language`: the language spoken before the gap. If the task names no language, a gap of two seconds or more is first
    transcribed in the language that is detected in it, because somebody else may speak there. If this other language
    gives no probable text, and for any other gap, `language` is used. No prompt is given: a prompt may cause gaps.
    """
    plain = options.model_copy(update={"prompt": None})
    if options.language is None and sum(part.seconds for _, part in parts) >= _TELLING_S:
        answers = [(begin, _answer(model, part, plain, language)) for begin, part in parts]
        texts = list(_believed(answers))
        if texts or all(answer.language == language for _, answer in answers):
            return texts
    guided = plain.model_copy(update={"language": language or options.language})
    return list(_believed([(begin, _answer(model, part, guided, None)) for begin, part in parts]))


def _answer(model: SpeechModel, part: WindowAudio, options: TranscribeOptions, previous: str | None) -> ModelOutput:
    (answer,) = model.transcribe([part], options, [previous])
    return answer


def _believed(answers: Iterable[tuple[float, ModelOutput]]) -> Iterator[Text]:
    """Yield the texts that are probable enough, with times in the window.

    Each answer comes with the second of the window at which its sound begins.
    """
    for begin, answer in answers:
        for text in answer.texts:
            if text.words and (text.avg_logprob is None or text.avg_logprob >= _BELIEVED):
                words = [_moved(word, begin) for word in text.words]
                yield Text(words, text.language, text.avg_logprob, text.no_speech_prob)


def _language_before(texts: Sequence[Text], second: float) -> str | None:
    """Return the language of the last text that begins up to `second`; if there is none, that of the first text."""
    before = [text for text in texts if text.words and text.words[0].start <= second]
    return max(before, key=lambda text: text.words[0].start).language if before else texts[0].language


def _moved(word: Word, seconds: float) -> Word:
    return word.model_copy(update={"start": word.start + seconds, "end": word.end + seconds})


def _segments(text: Text, timeline: Timeline) -> Iterator[Segment]:
    for words in sentences([timeline.word(word) for word in text.words]):
        if not any(character.isalnum() for character in text_of(words)):
            continue  # a mark alone, such as a dash
        yield Segment(
            start=words[0].start,
            end=max(word.end for word in words),
            text=text_of(words),
            language=text.language,
            words=words,
            confidence=fmean(word.probability for word in words),
            avg_logprob=text.avg_logprob,
            no_speech_prob=text.no_speech_prob,
        )
