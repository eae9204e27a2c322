"""Identification: store the embeddings of a task's speakers, and find whose voice each speaker has."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from nats.errors import Error as NatsError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import Stage
from natscribe.schemas.voices import SpeakerVoice

from app.engines.messages import Embedded, SpeakerEmbedding
from app.errors import BucketFullError
from app.jetstream.records import UnreadableError
from app.settings import Settings
from app.updates import Append, Task, Update
from app.voices.store import ComparableVoice, VoiceStore

LEAST_SPEECH_S: Final = 3.0  # a speaker who says less alone is nobody's voice
NO_ROOM: Final = ErrorDetail(
    code=ErrorCode.INTERNAL,
    message="NATS has no room for the embeddings of the speakers: make room in the bucket embeddings, and publish the "
    "task again under a new id.",
)
NOT_READ: Final = ErrorDetail(
    code=ErrorCode.INTERNAL,
    message="NATS did not answer when the voices were read: publish the task again under a new id.",
)
NOBODY: Final = SpeakerVoice(voice=None, name=None, score=None)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Identified:
    """`voices`: whose voice each speaker has; null: the task does not ask for it, or it cannot be found out.

    `error`: why no voice was compared, or why some of the user's voices were not; None: all were.
    """

    voices: dict[str, SpeakerVoice] | None = None
    error: ErrorDetail | None = None


NOT_REQUESTED: Final = Identified()


class Identification:
    """Stores embeddings of speakers, and compares them with the voices of a user."""

    def __init__(self, store: VoiceStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    async def run(self, task: Task, embedded: Embedded, labels: Sequence[str], append: Append) -> Identified:
        """Store the embeddings of a task, as long as its result is kept, and find whose voice each speaker has.

        `labels` are the names of all speakers, also of those who say too little for an embedding. If NATS has no room
        for the embeddings, or the voices cannot be read, nobody is identified, and the answer has an `error`.

        Raises:
            FencedError: Another worker runs the task.
        """
        try:
            await append(Update(Stage.MERGING, 1.0, embeddings=embedded.model_dump_json().encode()))
        except BucketFullError as error:
            log.warning("embeddings_not_kept", bucket=error.bucket)
            return Identified(error=NO_ROOM)
        try:
            return await self.compare(task.user_id, embedded, labels)
        except (NatsError, UnreadableError):
            return Identified(error=NOT_READ)

    async def compare(self, user_id: int | str, embedded: Embedded, labels: Sequence[str]) -> Identified:
        """Find which voice of the user each speaker in `labels` has; a speaker's `voice` is null if it is nobody's.

        Voices whose references another network has made are not compared; an `error` says how many.

        Raises:
            NatsError: NATS does not answer.
        """
        known = await self._store.compared(user_id)
        comparable = [each for each in known if each["model"].revision == embedded.model.revision]
        speaking = [each for each in embedded.speakers if each.speaker in labels]  # a channel without text says nothing
        found = await asyncio.to_thread(self._matches, speaking, comparable)
        voices = {label: found.get(label, NOBODY) for label in labels}
        return Identified(voices, _left_out(len(known) - len(comparable)))

    def _matches(self, found: Sequence[SpeakerEmbedding], voices: Sequence[ComparableVoice]) -> dict[str, SpeakerVoice]:
        from app.voices.matching import MatchLimits, match  # noqa: PLC0415 -- numpy, which a worker needs for nothing else

        limits = MatchLimits(self._settings.voice_threshold, self._settings.voice_margin)
        speakers = {each.speaker: (each.values, each.telephone) for each in found if each.seconds >= LEAST_SPEECH_S}
        references = {
            voice["voice"]: [(each["values"], each["telephone"]) for each in voice["references"]] for voice in voices
        }
        matches = match(speakers, references, limits)
        return {
            label: SpeakerVoice(voice=each.voice, name=None, score=min(max(each.score, -1.0), 1.0))
            for label, each in matches.items()
        }


def _left_out(count: int) -> ErrorDetail | None:
    if not count:
        return None
    message = (
        f"{count} of the user's voices were made by another network and not compared: voices.list shows which; forget "
        "them, and enrol these people again."
    )
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)
