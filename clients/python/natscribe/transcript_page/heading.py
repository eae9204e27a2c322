"""Renders the page's header and footer: facts about the recording, a timeline of each speaker, and notes."""

from collections.abc import Iterator
from html import escape

from natscribe.schemas.kinds import Result
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.transcript_page.body import HARDLY, UNSURE
from natscribe.transcript_page.markup import clock_time, name_of, share
from natscribe.transcript_page.speakers import Speakers, Times, colour, total_seconds

_GAPS = 12  # the head has links to at most this number of gaps
_UNITS = 2000  # width of a timeline, for the whole recording


def heading(result: Result, speakers: Speakers) -> str:
    """Return the HTML of the page's `<header>`: title, facts, a timeline for each speaker, and notes."""
    is_transcript = isinstance(result, TranscriptionResult)
    facts = "".join(f"<li>{fact}</li>" for fact in _facts(result))
    return f"""<header>
<p>{"Transcript" if is_transcript else "Who speaks when"}</p>
<h1><bdi>{escape(name_of(result))}</bdi></h1>
<ul class="facts">{facts}</ul>
{_timelines(result, speakers)}
{"".join(_notes(result)) if isinstance(result, TranscriptionResult) else ""}
</header>"""


def about(result: Result) -> str:
    """Return the HTML of the page's `<footer>`: the model, the time of creation, the recording and the task."""
    created = result.created_at
    facts = {
        "Model": f"{escape(result.model.name)}, revision {escape(result.model.revision)}",
        "Made": f'<time datetime="{created.isoformat()}">{created.day} {created:%B %Y, %H:%M} UTC</time>',
        "Recording": f"<bdi>{escape(result.audio_file_id)}</bdi>",
        "SHA-256 of the recording": f"<code>{escape(result.audio_sha256)}</code>" if result.audio_sha256 else None,
        "Task": escape(result.task_id),
    }
    written = "\n".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in facts.items() if value)
    return f"<footer>\n<dl>\n{written}\n</dl>\n</footer>"


def _facts(result: Result) -> Iterator[str]:
    yield clock_time(result.duration, result.duration)
    if isinstance(result, TranscriptionResult):
        yield from _languages(result)
    if result.speakers:
        yield f"{result.speakers} speaker{'s' if result.speakers > 1 else ''}"
    if isinstance(result, TranscriptionResult) and result.channels:
        yield f"{result.channels} channels"
    yield f"{result.created_at.day} {result.created_at:%B %Y}"


def _languages(result: TranscriptionResult) -> Iterator[str]:
    seconds_by_language = result.languages or ({result.language: 1.0} if result.language else {})
    whole = sum(seconds_by_language.values()) or 1.0
    names = [
        f'<span data-language="{escape(code)}">{escape(code)}</span>'
        + (f" {escape(share(spoken / whole))}" if len(seconds_by_language) > 1 else "")
        for code, spoken in seconds_by_language.items()
    ]
    if names:
        yield ", ".join(names)


def _timelines(result: Result, speakers: Speakers) -> str:
    whole = sum(total_seconds(times) for times in speakers.values()) or 1.0
    timelines = []
    for speaker, times in speakers.items():
        spoken = total_seconds(times)
        length = f"<span>{clock_time(spoken, result.duration)} · {escape(share(spoken / whole))}</span>"
        name, timeline = f"<b>{escape(speaker)}</b>", _timeline(times, result.duration)
        timelines.append(f'<li class="{colour(speakers, speaker)}">{name}{length}{timeline}</li>')
    if not timelines:
        return ""
    drawn = "\n".join(timelines)
    return f'<ul id="speakers" aria-label="Speakers" data-seconds="{result.duration:g}">\n{drawn}\n</ul>'


def _timeline(times: Times, duration: float) -> str:
    """Return the timeline of a speaker as SVG: a line that is interrupted where the speaker is silent."""
    scale = _UNITS / (duration or 1.0)
    drawn, last = "", -1
    for start, end in sorted(times):
        first, stop = max(round(start * scale), last), max(round(end * scale), round(start * scale) + 2)
        if stop > last:
            drawn += f"M{first} 5h{stop - first}"
            last = stop
    return f'<svg viewBox="0 0 {_UNITS} 10" preserveAspectRatio="none" aria-hidden="true"><path d="{drawn}"/></svg>'


def _gaps(transcript: TranscriptionResult) -> str:
    gaps = sorted(transcript.untranscribed, key=lambda gap: gap.start)
    links = [
        f'<a href="#gap{number}">{clock_time(gap.start, transcript.duration)}</a>'
        for number, gap in enumerate(gaps[:_GAPS], start=1)
    ]
    more = f" and {len(gaps) - _GAPS} more" if len(gaps) > _GAPS else ""
    return f"{', '.join(links)}{more}"


def _notes(transcript: TranscriptionResult) -> Iterator[str]:
    if transcript.diarization_error is not None:
        yield f'<p class="note">Without speakers: {escape(transcript.diarization_error.message)}</p>'
    if transcript.untranscribed:
        yield f'<p class="note">Not transcribed: {_gaps(transcript)}</p>'
    if transcript.segments:
        yield (
            f'<p class="note">The model is less than {UNSURE:.0%} sure of <span class="u">dotted</span> words, '
            f'and less than {HARDLY:.0%} sure of <span class="v">dashed</span> ones.</p>'
        )
