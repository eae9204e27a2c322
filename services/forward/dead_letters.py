"""Events that a receiver has refused; `services/forward/replay.py` sends them again."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A reference to an event that a receiver has refused, without its content.

    `rule`: the name of the rule. `stream`, `subject`, `sequence`: where the event is; None: the last one of the
    subject. `why`: why it was refused.
    """

    rule: str
    stream: str
    subject: str
    sequence: int | None
    why: str


class DeadLetters:
    """Dead letters as files of a folder, one for each rule and event."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def store(self, letter: DeadLetter) -> None:
        """Store a dead letter; one of the same event and rule is replaced."""
        await asyncio.to_thread(self._write, letter)

    def read(self) -> Iterator[DeadLetter]:
        """Yield all dead letters."""
        for file in sorted(self._folder.glob("*.json")):
            yield DeadLetter(**json.loads(file.read_bytes()))

    def delete(self, letter: DeadLetter) -> None:
        """Delete a dead letter."""
        self._file(letter).unlink(missing_ok=True)

    def _write(self, letter: DeadLetter) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._file(letter)
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(letter)), encoding="utf-8")
        partial.replace(file)

    def _file(self, letter: DeadLetter) -> Path:
        event = f"{letter.rule} {letter.stream} {letter.subject} {letter.sequence}"
        return self._folder / f"{letter.rule}-{hashlib.sha256(event.encode()).hexdigest()[:32]}.json"
