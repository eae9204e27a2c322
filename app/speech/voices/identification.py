"""Speaker identification: store the embeddings of a task's speakers, and match them with the voices of the user.

A voice is a person whom the user has enrolled by name.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from nats.errors import Error as NatsError
from natscribe.schemas.errors import ErrorCode, ErrorDetail
from natscribe.schemas.progress import Stage
from natscribe.schemas.voices import SpeakerVoice

from app.engines.messages import RecordingEmbeddings, SpeakerEmbedding
from app.runtime.errors import BucketFullError
from app.settings import Settings
from app.speech.updates import Append, Embeddings, Progress, Task
from app.speech.voices.store import ComparableVoice, VoiceStore
from app.storage.jetstream.records import UnreadableError

MIN_SPEECH_S: Final = 3.0  # a speaker with less speech without overlap is not identified
NO_ROOM: Final = ErrorDetail(
    code=ErrorCode.INTERNAL,
    message="NATS has no room for the embeddings of the speakers: make room in the bucket embeddings, and submit the "
    "task again under a new id.",
)
NOT_READ: Final = ErrorDetail(
    code=ErrorCode.INTERNAL,
    message="NATS did not answer when the voices were read: submit the task again under a new id.",
)
NOBODY: Final = SpeakerVoice(voice=None, name=None, score=None)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class IdentificationOutcome:
    """The outcome of speaker identification.

    `voices`: the voice of each speaker label; None: the task does not request identification, or identification failed.
    `error`: why not all voices of the user were compared; None: all were compared.
    """

    voices: dict[str, SpeakerVoice] | None = None
    error: ErrorDetail | None = None


NOT_REQUESTED: Final = IdentificationOutcome()


@dataclass(frozen=True, slots=True)
class Identification:
    """Stores the embeddings of a task's speakers, and compares these speakers with the voices of the task's user."""

    store: VoiceStore
    settings: Settings

    async def run(
        self, task: Task, embedded: RecordingEmbeddings | None, labels: Sequence[str], append: Append
    ) -> IdentificationOutcome:
        """Store the embeddings of a task for as long as its result is stored, and identify each speaker.

        `embedded`: the embeddings of the task's speakers; None: the task does not request identification. `labels`: the
        labels of all speakers, including those with too little speech for an embedding. `append`: stores the embeddings
        by an update to the task's log. If NATS has no room for them, or the voices cannot be read, nobody is
        identified, and the outcome has an `error`.

        Raises:
            FencedError: Another worker runs the task.
        """
        if embedded is None:
            return NOT_REQUESTED
        try:
            await append(Embeddings(embedded.model_dump_json().encode()))
            await append(Progress(Stage.MERGING, 1.0))
        except BucketFullError as error:
            log.warning("embeddings_not_stored", bucket=error.bucket)
            return IdentificationOutcome(error=NO_ROOM)
        try:
            return await self.compare(task.user_id, embedded, labels)
        except NatsError:
            return IdentificationOutcome(error=NOT_READ)
        except UnreadableError as error:
            return IdentificationOutcome(error=error.detail)

    async def compare(
        self, user_id: int | str, embedded: RecordingEmbeddings, labels: Sequence[str]
    ) -> IdentificationOutcome:
        """Match each speaker in `labels` with the voices of the user; the `voice` of a speaker is None if none matches.

        Voices with references of another embedding model are not compared; then `error` says how many.

        Raises:
            NatsError: NATS does not reply.
        """
        voices = await self.store.comparable(user_id)
        comparable = [voice for voice in voices if voice["model"].revision == embedded.model.revision]
        speakers = [speaker for speaker in embedded.speakers if speaker.speaker in labels]  # not channels without text
        matches = await asyncio.to_thread(self._matches, speakers, comparable)
        return IdentificationOutcome(
            {label: matches.get(label, NOBODY) for label in labels}, _not_compared(len(voices) - len(comparable))
        )

    def _matches(
        self, embeddings: Sequence[SpeakerEmbedding], voices: Sequence[ComparableVoice]
    ) -> dict[str, SpeakerVoice]:
        from app.speech.voices.matching import match  # noqa: PLC0415 -- numpy, which a worker needs for nothing else

        limits = {"threshold": self.settings.voice_threshold, "margin": self.settings.voice_margin}
        speakers = {
            item.speaker: (item.values, item.telephone, item.agreement)
            for item in embeddings
            if item.seconds >= MIN_SPEECH_S
        }
        references = {
            voice["voice"]: [(item["values"], item["telephone"]) for item in voice["references"]] for voice in voices
        }
        return {
            label: SpeakerVoice(voice=best.voice, name=None, score=min(max(best.score, -1.0), 1.0))
            for label, best in match(speakers, references, **limits).items()
        }


def _not_compared(count: int) -> ErrorDetail | None:
    if not count:
        return None
    message = (
        f"{count} of the user's voices were made by another network and not compared: voices.list shows which; forget "
        "them, and enrol these people again."
    )
    return ErrorDetail(code=ErrorCode.NOT_FOUND, message=message)
