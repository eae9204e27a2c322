"""Transcribe windows to segments with a model of any family.

A gap is speech for which the model recognized no words: it is transcribed again, and reported if it remains.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from statistics import fmean
from time import monotonic

from natscribe.schemas.transcription import Interval, Segment, TranscribeOptions, Word

from app.engines.audio.samples import unpack, unpack_speech
from app.engines.audio.stretches import Stretches, stretches
from app.engines.audio.timeline import Timeline, Times
from app.engines.audio.window_audio import WindowAudio, cut_in_two, part_of
from app.engines.audio.word_times import moved_to_speech
from app.engines.messages import Transcribe, WindowsTranscribed
from app.engines.speech_model import ModelOutput, SpeechModel, Text
from app.engines.text.coverage import find_gaps, word_times
from app.engines.text.sentences import sentences, text_of
from app.engines.windows import Window, WindowText

_MAX_RETRIED_GAPS = 6  # most gaps of a window that are transcribed again
_MIN_LANGUAGE_S = 2.0  # the language of a shorter gap cannot be identified reliably
_MIN_LOGPROB = -1.0  # lowest mean log probability of a text that fills a gap


def transcribe(model: SpeechModel, job: Transcribe) -> WindowsTranscribed:
    """Transcribe a batch of windows, then retry the gaps: detected speech for which the texts have no words.

    Gaps are not retried if `job.interim` is set, i.e. if the windows are utterances in progress.

    Raises:
        PermanentError: invalid_message: the model does not support the options.
    """
    model.check(job.options)
    started = monotonic()
    batch = [WindowAudio(unpack(window.samples), Timeline(window.regions).speech) for window in job.windows]
    outputs = model.transcribe(batch, job.options, job.previous, interim=job.interim)
    pairs = [_without_context(*item) for item in zip(job.windows, batch, outputs, strict=True)]
    if job.interim:
        texts: Iterator[Sequence[Text]] = (output.texts for _, output in pairs)
    else:
        texts = model.parallel.map(lambda pair: _fill_gaps(model, pair[0], pair[1].texts, job.options), pairs)
    results = [_window_text(window, *pair, text) for window, pair, text in zip(job.windows, pairs, texts, strict=True)]
    return WindowsTranscribed(texts=results, seconds=monotonic() - started)


def _without_context(window: Window, audio: WindowAudio, output: ModelOutput) -> tuple[WindowAudio, ModelOutput]:
    """Remove the window's context: regions of speech before it, which were only transcribed to improve its text.

    Return the audio without the regions of the context, and the model's output without the words in them.
    """
    if not window.context:
        return audio, output
    timeline = Timeline(window.regions)
    texts = [
        replace(text, words=[word for word in text.words if timeline.word(word).start >= window.start])
        for text in output.texts
    ]
    return replace(audio, speech=audio.speech[window.context :]), replace(output, texts=texts)


def _window_text(window: Window, audio: WindowAudio, output: ModelOutput, texts: Sequence[Text]) -> WindowText:
    """Build the result for a window: its segments, and its remaining gaps (speech without words).

    All times are in the recording. `texts`: the texts of the window, including those of its gaps. `output`: the model's
    output before the gaps were transcribed again.
    """
    timeline = Timeline(window.regions)
    texts = _with_exact_times(texts, timeline, stretches(audio, unpack_speech(window.speech)))
    return WindowText(
        segments=[segment for text in texts for segment in _segments(text, timeline)],
        untranscribed=[
            Interval(start=start, end=end) for gap in _gaps(texts, audio) for start, end in timeline.in_recording(*gap)
        ],
        language=output.language,
        settled=output.settled,
        end=window.end,
        channel=window.channel,
    )


def _with_exact_times(texts: Sequence[Text], timeline: Timeline, speech: Stretches) -> list[Text]:
    """Move the times of all words of a window to where speech begins and ends; texts may come in any order."""
    placed = sorted(((timeline.in_window(word), word) for text in texts for word in text.words), key=itemgetter(0))
    times = moved_to_speech([times for times, _ in placed], *speech)
    moved = {
        id(word): word.model_copy(update={"start": start, "end": end})
        for (_, word), (start, end) in zip(placed, times, strict=True)
    }
    return [replace(text, words=[moved[id(word)] for word in text.words]) for text in texts]


def _fill_gaps(model: SpeechModel, audio: WindowAudio, texts: Sequence[Text], options: TranscribeOptions) -> list[Text]:
    """Transcribe up to six gaps of a window again, each on its own. A gap is detected speech without words.

    Return the texts, including the new ones. If the whole window is one gap, it is cut in two first. Where a new text
    leaves part of its gap without words, that part is a new gap. Gaps beyond the sixth, and those whose new text is
    improbable, remain.
    """
    filled, tried = list(texts), set[Times]()
    while new := [gap for gap in _gaps(filled, audio) if gap not in tried][: _MAX_RETRIED_GAPS - len(tried)]:
        tried.update(new)
        for start, end in new:
            is_whole = end - start >= audio.seconds
            parts = cut_in_two(audio) if is_whole else [(start, part_of(audio, start, end))]
            in_gap = _transcribe_gap(model, parts, options, _language_before(filled, start))
            filled = [*_cut(filled, start), *in_gap] if in_gap else filled
    return filled


def _gaps(texts: Sequence[Text], audio: WindowAudio) -> list[Times]:
    """Find the gaps in a window's texts, i.e. speech without words, in seconds from the start of the window.

    A window without any text is assumed to contain no speech, and so has no gaps.
    """
    words = [word for text in texts for word in text.words]
    return find_gaps(word_times(words, audio.speech), audio.speech, audio.seconds) if texts else []


def _cut(texts: Sequence[Text], second: float) -> Iterator[Text]:
    """Split the texts at `second` (in seconds), where a gap starts, so that the text of the gap can be inserted.

    A word whose time extends into the gap is shortened so that it ends at the start of the gap.
    """
    for text in texts:
        before = [word.model_copy(update={"end": min(word.end, second)}) for word in text.words if word.start < second]
        after = [word for word in text.words if word.start >= second]
        for words in (before, after):
            if words:
                yield replace(text, words=words)


def _transcribe_gap(
    model: SpeechModel, parts: Sequence[tuple[float, WindowAudio]], options: TranscribeOptions, language: str | None
) -> list[Text]:
    """Transcribe a gap, i.e. speech without words, and return its texts; [] if none is probable enough.

    `parts`: the audio of the gap in parts, each with its start in seconds from the start of the window. `language`: the
    language spoken before the gap.

    If the task names no language, the language of a gap of two seconds or more is identified, because another person
    may speak there. A shorter gap, and one that has no probable text in another language, is transcribed in `language`.
    The prompt is omitted, because it may have caused the gap.
    """
    plain = options.model_copy(update={"prompt": None})
    if options.language is None and sum(audio.seconds for _, audio in parts) >= _MIN_LANGUAGE_S:
        outputs = [model.transcribe([audio], plain, [language])[0] for _, audio in parts]
        texts = list(_probable(parts, outputs))
        if texts or all(output.language == language for output in outputs):
            return texts
    in_language = plain.model_copy(update={"language": language or options.language})
    return list(_probable(parts, [model.transcribe([audio], in_language, [None])[0] for _, audio in parts]))


def _probable(parts: Sequence[tuple[float, WindowAudio]], outputs: Sequence[ModelOutput]) -> Iterator[Text]:
    """Yield the texts in `outputs` that are probable enough, with times from the start of the window.

    `parts`: the audio of each output, with its start in seconds from the start of the window.
    """
    for (start, _), output in zip(parts, outputs, strict=True):
        for text in output.texts:
            if text.words and (text.avg_logprob is None or text.avg_logprob >= _MIN_LOGPROB):
                yield replace(text, words=[_shifted(word, start) for word in text.words])


def _language_before(texts: Sequence[Text], second: float) -> str | None:
    """Return the language spoken before the time `second` (in seconds), which is where a gap starts.

    This is the language of the last text whose words start at that time or earlier, or, if there is none, the language
    of the first text.
    """
    before = [text for text in texts if text.words and text.words[0].start <= second]
    return max(before, key=lambda text: text.words[0].start).language if before else texts[0].language


def _shifted(word: Word, seconds: float) -> Word:
    return word.model_copy(update={"start": word.start + seconds, "end": word.end + seconds})


def _segments(text: Text, timeline: Timeline) -> Iterator[Segment]:
    for words in sentences([timeline.word(word) for word in text.words]):
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
