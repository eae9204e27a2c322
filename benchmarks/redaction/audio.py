"""`python -m benchmarks.redaction.audio SOUNDS [N]`: recall of redaction after recognition, and what it costs.

SOUNDS is a folder with recorded digits: /usr/share/asterisk/sounds, once the Debian packages
asterisk-core-sounds-en-wav and -ru-wav are unpacked. espeak-ng says the rest of each held-out sentence. Numbers are said
digit by digit, which is the hardest for recognition. The service runs as its users run it; tasks name the language.
"""

import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
from nats.js import JetStreamContext
from natscribe.schemas.redaction import EntityType

from benchmarks.client import TimedClient
from benchmarks.redaction.values import Values
from benchmarks.service import serving
from benchmarks.stack import Stack, fresh
from tests.truth.recordings import RATE, Samples, read, write
from tests.truth.word_times import Clip

_VOICES: Final = {"en": ("en-us", "en_US_f_Allison"), "ru": ("ru", "ru_RU_f_IvrvoiceRU")}
_KINDS: Final = {
    EntityType.CARD: ("card",),
    EntityType.PHONE: ("phone",),
    EntityType.BANK_ACCOUNT: ("account", "routing", "bik"),
    EntityType.NATIONAL_ID: ("ssn", "license", "inn", "inn10", "snils", "passport"),
    EntityType.EMAIL: ("email",),
}
_IN_RECORDING: Final = 12  # sentences
_GROUP: Final = 4  # digits that are said without a longer pause
_EDGE_S: Final = 0.15  # a recognized word belongs to a value if its middle is farther than this inside of it
_LEVEL: Final = 2500.0  # root mean square of all speech, of 32768
_LABEL: Final = re.compile(r"\[[A-Z_]+\]")
_NUMBER: Final = {
    "en": re.compile(r"\d|\b(zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple)\b", re.IGNORECASE),
    "ru": re.compile(r"\d|\b(ноль|один|одна|два|две|три|четыре|пять|шесть|семь|восемь|девять)\b", re.IGNORECASE),
}


@dataclass
class Recording:
    """Sentences of one language with values of one type: where each value is said, in seconds, and what it is."""

    language: str
    type: EntityType
    path: Path
    values: list[tuple[float, float, str]] = field(default_factory=list)


@dataclass
class Count:
    """Values of one language and type."""

    values: int = 0
    exact: int = 0  # recognized without an error
    left: int = 0  # in the redacted text, in part or whole
    left_in_audio: int = 0  # recognized in the copy of the recording


class Speaker:
    """Says sentences of one language: digits by recordings, everything else by espeak-ng."""

    def __init__(self, sounds: Path, language: str, scratch: Path) -> None:
        """`scratch`: a folder for files."""
        self._voice, folder = _VOICES[language]
        self._random = Random(language)
        self._scratch = scratch / "said.wav"
        self._digits = [_level(_trimmed(read(sounds / folder / f"digits/{digit}.wav"))) for digit in range(10)]

    def text(self, text: str) -> Samples:
        """Return speech of a text; nothing for a text without letters."""
        if not re.search(r"\w", text):
            return self.pause(0.2, 0.4)
        command = ["espeak-ng", "-v", self._voice, "-s", "150", "-w", str(self._scratch), text]
        subprocess.run(command, check=True, timeout=60)  # noqa: S603 -- our own sentences
        return _level(_trimmed(read(self._scratch)))

    def digits(self, digits: str) -> Samples:
        """Return a number said digit by digit."""
        parts = list[Samples]()
        for at, digit in enumerate(digits):
            parts += [self._digits[int(digit)], self.pause(0.06, 0.2)]
            parts += [self.pause(0.2, 0.4)] if at % _GROUP == _GROUP - 1 else []
        return np.concatenate(parts)

    def pause(self, shortest: float, longest: float) -> Samples:
        """Return silence with the noise of a quiet line."""
        noise = np.random.default_rng(1).normal(0, 3, int(self._random.uniform(shortest, longest) * RATE))
        return noise.astype(np.int16)


def _trimmed(samples: Samples) -> Samples:
    start, end = Clip(samples, "").edges
    return samples[int(start * RATE) : int(end * RATE)]


def _level(samples: Samples) -> Samples:
    loud = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    louder: Samples = np.clip(samples * (_LEVEL / loud), -32768, 32767).astype(np.int16)
    return louder


def _recordings(sounds: Path, scratch: Path, rounds: int) -> Iterator[Recording]:
    for language in _VOICES:
        speaker, values = Speaker(sounds, language, scratch), Values(language, seed=12, styles=["written"])
        lines = (Path(__file__).parent / f"held_out.{language}.txt").read_text(encoding="utf-8").splitlines()
        for type_, kinds in _KINDS.items():
            chosen = [line for line in lines if re.findall(r"{(\w+)}", line) in [[kind] for kind in kinds]] * rounds
            for number, at in enumerate(range(0, len(chosen), _IN_RECORDING)):
                recording = Recording(language, type_, scratch / f"{language}-{type_.value}-{number}.wav")
                _say(recording, chosen[at : at + _IN_RECORDING], speaker, values)
                yield recording


def _say(recording: Recording, lines: Sequence[str], speaker: Speaker, values: Values) -> None:
    parts, at = [speaker.pause(0.5, 0.5)], 0.5
    for line in lines:
        before, kind, after = re.split(r"{(\w+)}", line)
        said = _value(kind, values)
        value = speaker.digits(said) if said.isdecimal() else speaker.text(said)
        opening = [speaker.text(re.sub(r"\w+: ", "", before)), speaker.pause(0.1, 0.3)]
        start = at + sum(map(len, opening)) / RATE
        recording.values.append((start, start + len(value) / RATE, said))
        parts += [*opening, value, speaker.pause(0.1, 0.3), speaker.text(after), speaker.pause(0.8, 1.4)]
        at = sum(map(len, parts)) / RATE
    write(recording.path, [np.concatenate(parts)])


def _value(kind: str, values: Values) -> str:
    """Return another value as it is said: its digits, or an e-mail address in words."""
    value = values.of(kind)
    while kind == "email" and "@" in value:
        value = values.of(kind)
    return value if kind == "email" else re.sub(r"\D", "", value)


async def _measured(recordings: Sequence[Recording]) -> None:
    counts, times = dict[tuple[str, EntityType], Count](), list[tuple[float, float]]()
    async with fresh() as stack, serving(stack, cache_ttl=0):
        client = TimedClient(stack.nats)
        for recording in recordings:
            count = counts.setdefault((recording.language, recording.type), Count())
            given: dict[str, Any] = {"word_timestamps": True, "language": recording.language}
            took, plain = await client.process(recording.path, **given)
            took_all, _ = await client.process(recording.path, **given, redact={"entities": ["all"]})
            times.append((took, took_all))
            redact = {"entities": [recording.type.value], "audio": "silence"}
            _, redacted = await client.process(recording.path, **given, redact=redact)
            copy = await _copy(stack, redacted, recording.path)
            _, heard = await client.process(copy, **given)
            _compare(count, recording, plain, redacted, heard)
    _print(counts, times)


async def _copy(stack: Stack, result: dict[str, Any], path: Path) -> Path:
    reference = result["redacted_audio"]
    store: JetStreamContext = stack.nats.jetstream()
    found = await (await store.object_store(reference["bucket"])).get(reference["name"])
    copy = path.with_suffix(".redacted.flac")
    copy.write_bytes(found.data or b"")
    return copy


def _compare(
    count: Count, recording: Recording, plain: dict[str, Any], redacted: dict[str, Any], heard: dict[str, Any]
) -> None:
    for start, end, said in recording.values:
        recognized, left, left_in_audio = (
            _said_between(result, start, end, recording) for result in (plain, redacted, heard)
        )
        count.values += 1
        count.exact += said.isdecimal() and re.sub(r"\D", "", " ".join(recognized)) == said
        count.left += bool(left)
        count.left_in_audio += bool(left_in_audio)
        if (left or left_in_audio) and "--show" in sys.argv:
            print("LEFT", recording.type.value, said, "|", recognized, "|", left, "|", left_in_audio)


def _said_between(result: dict[str, Any], start: float, end: float, recording: Recording) -> list[str]:
    """Return the recognized words of a value that are no label: numbers, or all words of an e-mail address."""
    words = [word for segment in result["segments"] for word in segment["words"]]
    inside = [
        str(word["word"]).strip()
        for word in words
        if start + _EDGE_S < (word["start"] + word["end"]) / 2 < end - _EDGE_S
    ]
    kept = [word for word in inside if not _LABEL.search(word)]
    if recording.type is EntityType.EMAIL:
        return kept
    return [word for word in kept if _NUMBER[recording.language].search(word)]


def _print(counts: dict[tuple[str, EntityType], Count], times: Sequence[tuple[float, float]]) -> None:
    print("| language | type | values | recognized exactly | redacted in text | in audio |\n|---|---|---|---|---|---|")
    for (language, type_), count in counts.items():
        shares = [1 - left / count.values for left in (count.left, count.left_in_audio)]
        print(f"| {language} | `{type_.value}` | {count.values} | {count.exact} | {shares[0]:.1%} | {shares[1]:.1%} |")
    ratios = sorted(redacted / plain for plain, redacted in times)
    whole = sum(redacted for _, redacted in times) / sum(plain for plain, _ in times)
    print(f"time with all types redacted, of the time without: {whole:.3f}, from {ratios[0]:.2f} to {ratios[-1]:.2f}")


def main(sounds: Path, rounds: int) -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as scratch:
        recordings = list(_recordings(sounds, Path(scratch), rounds))
        minutes = sum(len(read(recording.path)) for recording in recordings) / RATE / 60
        print(f"{len(recordings)} recordings, {minutes:.0f} minutes")
        asyncio.run(_measured(recordings))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
