"""Check subtitles (.srt, .vtt) against the rules of broadcasters, without any code of the service.

    python tools/check_subtitles.py talk.srt [more.vtt ...] [--result talk.json] [--max-line-chars 42] ...

Each broken rule is printed as a line; a summary follows. The exit code is 1 if a rule is broken:

* A cue has 1 to `--max-lines` lines, none of them too long or empty, and lasts at most `--max-cue-seconds`.
* Cues are in order of time, at least two frames (.08 s) apart.
* A cue is shown for at least 1 s, with at most 21 characters a second, unless the neighbouring cues leave no room.
* With `--result`, the service's JSON of the same task: the cues have all of its text, once and in order. No cue has two
  speakers or a pause of 1 s between words. No cue is shown 2.5 s too early or too late.
"""

import argparse
import html
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SHORTEST_S = 1.0  # a cue is shown at least this long
FASTEST_CPS = 21.0  # characters a second that people can read
GAP_S = 0.08  # the shortest time between two cues
PAUSE_S = 1.0  # words with this pause between them belong into two cues
LEAD_S = 0.5  # a cue may start this long before its speech
ASTRAY_S = 2.5  # a cue that starts this long before or after its speech is an error
TOLERANCE_S = 0.002  # because the times are whole milliseconds

TIMES = re.compile(r"^(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3})\s+-->\s+(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3})")
VOICE = re.compile(r"^<v ([^>]+)>")
NAME = re.compile(r"^(SPEAKER_\d+):(?: |$)")


class Limits(argparse.Namespace):
    """The arguments of the command line."""

    files: list[Path]
    result: Path | None
    max_line_chars: int
    max_lines: int
    max_cue_seconds: float


@dataclass
class Cue:
    """A cue of the file; `speaker` is the speaker that the cue names, `text` is without this name."""

    start: float
    end: float
    lines: list[str]
    text: str
    speaker: str | None
    speech: tuple[float, float] | None = None

    @property
    def seconds(self) -> float:
        """How many seconds the cue is shown."""
        return self.end - self.start

    @property
    def chars(self) -> int:
        """How many characters the cue has."""
        return len(" ".join(self.lines))


@dataclass
class Report:
    """Counts the broken rules of one file; `excused` counts the cues that are too short because there is no room."""

    name: str
    broken: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)

    def breach(self, cue: Cue | None, rule: str, what: str) -> None:
        """Print and count a broken rule."""
        where = f" at {cue.start:.3f} {' | '.join(cue.lines)!r}" if cue else ""
        print(f"{self.name}{where}: {what}")
        self.broken[rule] += 1


def parse(text: str) -> Iterator[Cue]:
    """Read the cues of a file; in SubRip a speaker's name is valid until the next name."""
    web = text.startswith("WEBVTT")
    speaker = None
    for block in re.split(r"\n{2,}", text.replace("\r\n", "\n").strip("\ufeff\n")):
        lines = block.split("\n")
        header = next(((index, times) for index, line in enumerate(lines[:2]) if (times := TIMES.match(line))), None)
        if header is None:
            continue
        index, times = header
        shown = lines[index + 1 :]
        if web:
            voice = VOICE.match(shown[0]) if shown else None
            speaker = voice[1] if voice else None
            shown = [html.unescape(re.sub(r"<[^>]*>", "", line)) for line in shown]
            spoken = " ".join(shown)
        else:
            name = NAME.match(shown[0]) if shown else None
            speaker = name[1] if name else speaker
            spoken = " ".join(shown)[len(name[0]) if name else 0 :]
        yield Cue(_seconds(*times.groups()[:4]), _seconds(*times.groups()[4:]), shown, spoken, speaker)


def _seconds(hours: str | None, minutes: str, seconds: str, millis: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(millis) / 1000


def columns(line: str) -> int:
    """Count the characters of a line; a wide character counts twice."""
    return len(line) + sum(unicodedata.east_asian_width(character) in "WF" for character in line)


def check_lines(cue: Cue, limits: Limits, report: Report) -> None:
    """Check the lines of a cue: their number, their length, and blanks at their ends."""
    if not 1 <= len(cue.lines) <= limits.max_lines:
        report.breach(cue, "lines", f"{len(cue.lines)} lines")
    for line in cue.lines:
        if columns(line) > limits.max_line_chars:
            report.breach(cue, "characters", f"a line of {columns(line)} characters")
        if not line.strip() or line != line.strip():
            report.breach(cue, "blanks", "a line that is empty or begins or ends with a blank")


def check_shape(cues: Sequence[Cue], limits: Limits, report: Report) -> None:
    """Check the lines, the duration and the order of all cues."""
    end = 0.0
    for cue in cues:
        check_lines(cue, limits, report)
        if not 0 < cue.seconds <= limits.max_cue_seconds + TOLERANCE_S:
            report.breach(cue, "duration", f"shown for {cue.seconds:.3f} s")
        if cue.start < end - TOLERANCE_S:
            report.breach(cue, "overlap", f"begins before {end:.3f}, when the previous cue ends")
        elif end and cue.start - end < GAP_S - TOLERANCE_S:
            report.breach(cue, "gap", f"only {cue.start - end:.3f} s after the previous cue")
        end = cue.end


def check_time(cues: Sequence[Cue], limits: Limits, report: Report) -> None:
    """Check that each cue is shown long enough to be read, if the neighbouring cues leave room."""
    for index, cue in enumerate(cues):
        before = cues[index - 1].end + GAP_S if index else 0.0
        behind = cues[index + 1].start - GAP_S if index + 1 < len(cues) else float("inf")
        earliest = max(before, cue.speech[0] - LEAD_S) if cue.speech else cue.start
        room = min(behind - min(earliest, cue.start), limits.max_cue_seconds)
        for rule, need in (("short", SHORTEST_S), ("fast", cue.chars / FASTEST_CPS)):
            if cue.seconds >= need - TOLERANCE_S:
                continue
            if cue.seconds < min(need, room) - TOLERANCE_S:
                report.breach(cue, rule, f"shown for {cue.seconds:.2f} s, needs {need:.2f}, has room for {room:.2f}")
            else:
                report.excused[rule] += 1


@dataclass
class Speech:
    """All that a speaker says in the result; for each character its time, its segment and the pause before it."""

    text: str = ""
    times: list[tuple[float, float]] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    checked: int = 0  # the number of characters that the checked cues have


def read_result(path: Path) -> dict[str | None, Speech]:
    """Read from a result what each speaker says."""
    by_speaker: dict[str | None, Speech] = {}
    for number, segment in enumerate(json.loads(path.read_text(encoding="utf-8"))["segments"]):
        spoken = by_speaker.setdefault(segment.get("speaker"), Speech())
        for word in segment["words"] or [{**segment, "word": segment["text"]}]:
            letters = "".join(word["word"].split())
            pause = word["start"] - spoken.times[-1][1] if spoken.times else 0.0
            spoken.text += letters
            spoken.times += [(word["start"], word["end"])] * len(letters)
            spoken.segments += [number] * len(letters)
            spoken.pauses += [pause, *[0.0] * (len(letters) - 1)][: len(letters)]
    return by_speaker


def check_span(cue: Cue, spoken: Speech, first: int, report: Report) -> None:
    """Check the characters of a speaker that a cue has: those from `first` to `spoken.checked`."""
    numbers = sorted(set(spoken.segments[first : spoken.checked]))
    if numbers != list(range(numbers[0], numbers[-1] + 1)):
        report.breach(cue, "speakers", "another speaker speaks inside")
    pause = max(spoken.pauses[first + 1 : spoken.checked], default=0.0)
    if pause >= PAUSE_S:
        report.breach(cue, "pause", f"a pause of {pause:.2f} s inside")
    start, end = spoken.times[first][0], spoken.times[spoken.checked - 1][1]
    if not start - ASTRAY_S <= cue.start <= end + ASTRAY_S:
        report.breach(cue, "astray", f"its words are spoken at {start:.2f}")


def check_speech(cues: Sequence[Cue], by_speaker: dict[str | None, Speech], report: Report) -> None:
    """Check that the cues have all that was spoken, with the right speakers."""
    for cue in cues:
        letters = "".join(cue.text.split())
        candidates = filter(None, map(by_speaker.get, [cue.speaker, None]))  # SubRip leaves out an unknown speaker
        spoken = next((spoken for spoken in candidates if spoken.text.startswith(letters, spoken.checked)), None)
        if spoken is None or not letters:
            report.breach(cue, "text", f"is not what {cue.speaker or 'somebody'} says next")
            continue
        first, spoken.checked = spoken.checked, spoken.checked + len(letters)
        cue.speech = spoken.times[first][0], spoken.times[spoken.checked - 1][1]
        check_span(cue, spoken, first, report)
    for speaker, spoken in by_speaker.items():
        if spoken.checked != len(spoken.text):
            report.breach(
                None, "text", f"{speaker or 'somebody'} says {spoken.text[spoken.checked :][:40]!r}, shown nowhere"
            )


def check(path: Path, limits: Limits) -> tuple[int, Report]:
    """Check a file; return the number of its cues, and the report."""
    cues = list(parse(path.read_text(encoding="utf-8")))
    report = Report(path.name)
    check_shape(cues, limits, report)
    if limits.result:
        check_speech(cues, read_result(limits.result), report)
    check_time(cues, limits, report)
    return len(cues), report


def main() -> int:
    """Check the files that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--result", type=Path, help="the result as JSON, of one file")
    parser.add_argument("--max-line-chars", type=int, default=42)
    parser.add_argument("--max-lines", type=int, default=2)
    parser.add_argument("--max-cue-seconds", type=float, default=7.0)
    limits = parser.parse_args(namespace=Limits())
    cues, broken, excused = 0, Counter[str](), Counter[str]()
    for path in limits.files:
        count, report = check(path, limits)
        cues += count
        broken += report.broken
        excused += report.excused
    print(f"{len(limits.files)} files, {cues} cues, {broken.total()} breaches {dict(broken) or ''}")
    for rule, count in excused.items():
        print(f"too {rule}, and no room for more: {count}, {100 * count / max(cues, 1):.1f} %")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
