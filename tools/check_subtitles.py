"""Check subtitles (.srt, .vtt) against the rules of broadcasters; knows nothing of the code that wrote them.

    python tools/check_subtitles.py talk.srt [more.vtt ...] [--result talk.json] [--max-line-chars 42] ...

Each breach is a line; a summary follows. The exit code is 1 where a rule is broken:

* a cue has lines, none of them too long or empty, and lasts above nothing and at most `--max-cue-seconds`;
* cues come by time, and between two of them are two frames (.08 s) at least;
* a cue is shown for 1 s, and at most 21 characters a second, unless the speech around it leaves no room;
* with `--result`, the service's JSON of the same task: all its text is there, once and in order, no cue holds two
  speakers or words with a pause of 1 s between them, and none is shown 2.5 s too early or too late.
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

SHORTEST_S = 1.0
FASTEST_CPS = 21.0
GAP_S = 0.08
PAUSE_S = 1.0
LEAD_S = 0.5  # what a cue may begin before its speech
ASTRAY_S = 2.5
TOLERANCE_S = 0.002  # of times in whole milliseconds

TIMES = re.compile(r"^(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3})\s+-->\s+(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3})")
VOICE = re.compile(r"^<v ([^>]+)>")
NAME = re.compile(r"^(SPEAKER_\d+):(?: |$)")


class Limits(argparse.Namespace):
    """What the command line says."""

    files: list[Path]
    result: Path | None
    max_line_chars: int
    max_lines: int
    max_cue_seconds: float


@dataclass
class Cue:
    """A cue as it stands in the file; `speaker` is whose voice is named there, `said` the text without the name."""

    start: float
    end: float
    lines: list[str]
    said: str
    speaker: str | None
    speech: tuple[float, float] | None = None

    @property
    def seconds(self) -> float:
        """How long it is shown."""
        return self.end - self.start

    @property
    def chars(self) -> int:
        """How much there is to read."""
        return len(" ".join(self.lines))


@dataclass
class Report:
    """What was found in a file."""

    name: str
    broken: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)

    def breach(self, cue: Cue | None, rule: str, what: str) -> None:
        """Tell that a rule is broken."""
        where = f" at {cue.start:.3f} {' | '.join(cue.lines)!r}" if cue else ""
        print(f"{self.name}{where}: {what}")
        self.broken[rule] += 1


def parse(text: str) -> Iterator[Cue]:
    """Read cues; a name in SubRip holds until the next one."""
    web = text.startswith("WEBVTT")
    speaker = None
    for block in re.split(r"\n{2,}", text.replace("\r\n", "\n").strip("\ufeff\n")):
        lines = block.split("\n")
        found = next(((place, times) for place, line in enumerate(lines[:2]) if (times := TIMES.match(line))), None)
        if found is None:
            continue
        place, times = found
        shown = lines[place + 1 :]
        if web:
            voice = VOICE.match(shown[0]) if shown else None
            speaker = voice[1] if voice else None
            shown = [html.unescape(re.sub(r"<[^>]*>", "", line)) for line in shown]
            said = " ".join(shown)
        else:
            name = NAME.match(shown[0]) if shown else None
            speaker = name[1] if name else speaker
            said = " ".join(shown)[len(name[0]) if name else 0 :]
        yield Cue(_seconds(*times.groups()[:4]), _seconds(*times.groups()[4:]), shown, said, speaker)


def _seconds(hours: str | None, minutes: str, seconds: str, millis: str) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + int(millis) / 1000


def columns(line: str) -> int:
    """Characters, wide ones twice."""
    return len(line) + sum(unicodedata.east_asian_width(each) in "WF" for each in line)


def check_lines(cue: Cue, limits: Limits, report: Report) -> None:
    """Check how much is shown at once."""
    if not 1 <= len(cue.lines) <= limits.max_lines:
        report.breach(cue, "lines", f"{len(cue.lines)} lines")
    for line in cue.lines:
        if columns(line) > limits.max_line_chars:
            report.breach(cue, "characters", f"a line of {columns(line)} characters")
        if not line.strip() or line != line.strip():
            report.breach(cue, "blanks", "a line that is empty or begins or ends with a blank")


def check_shape(cues: Sequence[Cue], limits: Limits, report: Report) -> None:
    """Check lines and the order of cues."""
    end = 0.0
    for cue in cues:
        check_lines(cue, limits, report)
        if not 0 < cue.seconds <= limits.max_cue_seconds + TOLERANCE_S:
            report.breach(cue, "duration", f"shown for {cue.seconds:.3f} s")
        if cue.start < end - TOLERANCE_S:
            report.breach(cue, "overlap", f"begins before {end:.3f}, when the one before goes")
        elif end and cue.start - end < GAP_S - TOLERANCE_S:
            report.breach(cue, "gap", f"only {cue.start - end:.3f} s after the one before")
        end = cue.end


def check_time(cues: Sequence[Cue], limits: Limits, report: Report) -> None:
    """Check that cues can be read, where there is room for that."""
    for place, cue in enumerate(cues):
        before = cues[place - 1].end + GAP_S if place else 0.0
        behind = cues[place + 1].start - GAP_S if place + 1 < len(cues) else float("inf")
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
class Said:
    """All that a speaker says, by characters: when, in which segment, and behind how long a pause."""

    text: str = ""
    times: list[tuple[float, float]] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    place: int = 0


def read_result(path: Path) -> dict[str | None, Said]:
    """Read what each speaker says."""
    voices: dict[str | None, Said] = {}
    for number, segment in enumerate(json.loads(path.read_text(encoding="utf-8"))["segments"]):
        voice = voices.setdefault(segment.get("speaker"), Said())
        for word in segment["words"] or [{**segment, "word": segment["text"]}]:
            letters = "".join(word["word"].split())
            pause = word["start"] - voice.times[-1][1] if voice.times else 0.0
            voice.text += letters
            voice.times += [(word["start"], word["end"])] * len(letters)
            voice.segments += [number] * len(letters)
            voice.pauses += [pause, *[0.0] * (len(letters) - 1)][: len(letters)]
    return voices


def check_stretch(cue: Cue, voice: Said, first: int, report: Report) -> None:
    """Check the characters of a speaker that a cue holds, from the first to the voice's place."""
    numbers = sorted(set(voice.segments[first : voice.place]))
    if numbers != list(range(numbers[0], numbers[-1] + 1)):
        report.breach(cue, "speakers", "another speaker speaks inside")
    pause = max(voice.pauses[first + 1 : voice.place], default=0.0)
    if pause >= PAUSE_S:
        report.breach(cue, "pause", f"a pause of {pause:.2f} s inside")
    start, end = voice.times[first][0], voice.times[voice.place - 1][1]
    if not start - ASTRAY_S <= cue.start <= end + ASTRAY_S:
        report.breach(cue, "astray", f"its words are said at {start:.2f}")


def check_speech(cues: Sequence[Cue], voices: dict[str | None, Said], report: Report) -> None:
    """Check that cues hold what was said, all of it, and by whom."""
    for cue in cues:
        letters = "".join(cue.said.split())
        speakers = [cue.speaker, None]  # SubRip does not tell where nobody is known to speak
        voice = next((v for v in map(voices.get, speakers) if v and v.text.startswith(letters, v.place)), None)
        if voice is None or not letters:
            report.breach(cue, "text", f"is not what {cue.speaker or 'somebody'} says next")
            continue
        first, voice.place = voice.place, voice.place + len(letters)
        cue.speech = voice.times[first][0], voice.times[voice.place - 1][1]
        check_stretch(cue, voice, first, report)
    for speaker, voice in voices.items():
        if voice.place != len(voice.text):
            report.breach(
                None, "text", f"{speaker or 'somebody'} says {voice.text[voice.place :][:40]!r}, shown nowhere"
            )


def check(path: Path, limits: Limits) -> tuple[int, Report]:
    """Check a file; how many cues it has."""
    cues = list(parse(path.read_text(encoding="utf-8")))
    report = Report(path.name)
    check_shape(cues, limits, report)
    if limits.result:
        check_speech(cues, read_result(limits.result), report)
    check_time(cues, limits, report)
    return len(cues), report


def main() -> int:
    """Check what the command line names."""
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
