"""Handles requests about voices: enroll, list, rename and forget people whom the service recognizes as speakers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from faststream.nats.publisher.usecase import LogicPublisher
from nats.aio.client import Client
from natscribe.jetstream.large_results import HEADROOM_BYTES
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.request_errors import no_embeddings, similar_voice, unknown_task, unknown_voice, without_result
from natscribe.schemas.voices import (
    EnrollRequest,
    ForgetRequest,
    Forgotten,
    Reference,
    RenameRequest,
    Voice,
    VoicePage,
    VoicesRequest,
)
from natscribe.schemas.wire import Model

from app.engines.messages import RecordingEmbeddings, SpeakerEmbedding
from app.requests.deadline import answering
from app.runtime.errors import BucketFullError, RequestError
from app.speech.voices.enrolment import chosen_speaker, new_voice, reference_of, with_reference
from app.speech.voices.identification import Identification
from app.speech.voices.store import ChangedMeanwhileError, StoredVoice, VersionedVoice, VoiceStore
from app.storage.jetstream.records import parse_stored
from app.storage.redis.cache import Cache
from app.tasks.task_log.embeddings import EmbeddingStore
from app.tasks.task_log.record import Record

TRIES: Final = 5  # concurrent requests about one voice: each try that fails lets another one succeed


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceRequests:
    """Enrols, lists, renames and forgets the voices of users.

    A voice is a person whom a user has enrolled from a speaker of a completed task. Its references are embeddings of
    this speaker, up to one pair from each task, with which the speakers of later tasks are compared.
    """

    nats: Client
    publisher: LogicPublisher  # of `forgotten` events
    store: VoiceStore
    embeddings: EmbeddingStore
    cache: Cache
    identification: Identification
    network: Callable[[], Model]  # returns the network that computes embeddings now
    find: Callable[[str], Awaitable[Record]]  # returns the last record of a task

    async def enroll(self, request: EnrollRequest) -> Voice:
        """Create a voice from a speaker of a completed task, or add this speaker to a voice as another reference.

        Raises:
            RequestError: The task has no such speaker; the speaker rarely speaks alone, sounds like two people, or
                resembles a voice other than the one named; there is no such voice; NATS does not answer or has no room.
        """
        async with _replying():
            embedded = await self._embedded(request)
            speaker = chosen_speaker(embedded, request)
            if not request.another:
                await self._refuse_known(request, embedded.model, speaker)
            reference = reference_of(request.task_id, speaker)
            if request.voice is None:
                return await self._add(request, new_voice(request, reference, embedded.model))
            return await self._change(
                request.user_id, request.voice, lambda voice: with_reference(voice, request, reference, embedded.model)
            )

    async def page(self, request: VoicesRequest) -> VoicePage:
        """Return those of a user's voices that follow the cursor `request.after`, as many as fit into a reply.

        Raises:
            RequestError: NATS does not answer.
        """
        voices: list[Voice] = []
        last, room = request.after, self.nats.max_payload - HEADROOM_BYTES
        async with _replying():
            async for page in self.store.pages(request.user_id, after=request.after):
                for versioned in page:
                    shown = await self._shown(versioned.voice)
                    room -= len(shown.model_dump_json()) + 1
                    if room < 0:
                        return VoicePage(voices=voices, more_after=last)
                    voices.append(shown)
                    last = versioned.sequence
        return VoicePage(voices=voices)

    async def rename(self, request: RenameRequest) -> Voice:
        """Give a voice another name.

        Raises:
            RequestError: The user has no such voice, or NATS does not answer.
        """
        async with _replying():
            return await self._change(
                request.user_id, request.voice, lambda voice: voice.model_copy(update={"name": request.name})
            )

    async def forget(self, request: ForgetRequest) -> Forgotten:
        """Erase a voice, and publish that it was forgotten.

        The embeddings and cached results of the tasks from which the person was enrolled are erased first.

        Raises:
            RequestError: The user has no such voice, or some of its data could not be erased.
        """
        async with _replying():
            return await self._forget(await self._known(request.user_id, request.voice))

    async def forget_all(self, user_id: int | str) -> AsyncGenerator[None]:
        """Forget all voices of a user; yield None after each voice, so that the caller can stop in between.

        Raises:
            RequestError: Some data of the voices could not be erased.
        """
        async with _replying():
            voices = [versioned async for page in self.store.pages(user_id) for versioned in page]
        for versioned in voices:
            async with _replying():
                await self._forget(versioned)
            yield

    async def _forget(self, versioned: VersionedVoice) -> Forgotten:
        """Erase the embeddings and cached results of a voice's tasks, then the voice; publish that it was forgotten.

        The voice is erased last, so that an interrupted erasure can be repeated. If another request adds a reference in
        the meantime, that version of the voice is erased in the same way.
        """
        voice = versioned.voice
        await self._erase_analyses(voice.references)
        await self.store.erase(versioned)
        later = await self.store.find(voice.user_id, voice.voice)
        if later is not None:
            return await self._forget(later)
        event = Forgotten(voice=voice.voice, user_id=voice.user_id, at=datetime.now(UTC))
        await self.publisher.publish(event, subjects.forgotten(voice.voice))
        return event

    async def _erase_analyses(self, references: Iterable[Reference]) -> None:
        """Erase the embeddings and cached results of the tasks from which `references` were enrolled."""
        for task_id in {reference.task_id for reference in references}:
            await self.embeddings.delete(task_id)
            await self.cache.erase(task_id)

    async def _add(self, request: EnrollRequest, voice: StoredVoice) -> Voice:
        """Store a new voice, which expires unless it is confirmed; confirm it if its task still has embeddings.

        Another request may erase the embeddings meanwhile. A request that erases a voice or a user erases embeddings
        first and voices last. So if the embeddings still exist once the voice is stored, any later erasure finds the
        voice.

        Raises:
            RequestError: The embeddings no longer exist.
        """
        await self.store.add(voice)
        await self._embedded(request)
        return await self._change(voice.user_id, voice.voice, lambda stored: stored)

    async def _embedded(self, request: EnrollRequest) -> RecordingEmbeddings:
        record = await self.find(request.task_id)
        task = record.metadata.task
        if task is None or task.user_id != request.user_id:
            raise RequestError.of(unknown_task(request.task_id))
        if record.event.state is not State.COMPLETED:
            raise RequestError.of(without_result(record.status))
        stored = await self.embeddings.find(request.task_id, of=record.metadata.owner)
        if stored is None:
            raise RequestError.of(no_embeddings(request.task_id))
        return parse_stored(RecordingEmbeddings, stored, f"embeddings.{request.task_id}")

    async def _refuse_known(self, request: EnrollRequest, model: Model, speaker: SpeakerEmbedding) -> None:
        """Refuse to enrol a speaker who resembles a person whom the user has already enrolled as another voice.

        Speakers of later tasks who resemble two voices are given neither. `request.voice`: the voice that the speaker
        is added to, and may resemble; None: the speaker becomes a new voice. `model`: the network that computed the
        embeddings of `speaker`.

        Raises:
            RequestError: The speaker resembles a voice other than `request.voice`.
        """
        label, alone = speaker.speaker, RecordingEmbeddings(model=model, speakers=[speaker])
        voices = (await self.identification.compare(request.user_id, alone, [label])).voices or {}
        voice = voices[label].voice
        if voice is not None and voice != request.voice:
            raise RequestError.of(similar_voice(label, voice))

    async def _change(self, user_id: int | str, voice: str, change: Callable[[StoredVoice], StoredVoice]) -> Voice:
        for _ in range(TRIES):
            versioned = await self._known(user_id, voice)
            changed = change(versioned.voice)
            remaining = {reference.task_id for reference in changed.references}
            await self._erase_analyses(old for old in versioned.voice.references if old.task_id not in remaining)
            try:
                await self.store.put(changed, after=versioned.sequence)
            except ChangedMeanwhileError:
                continue
            return await self._shown(changed)
        message = "The voice is being changed by several requests at once: try again in a moment."
        raise RequestError(ErrorCode.INTERNAL, message)

    async def _known(self, user_id: int | str, voice: str) -> VersionedVoice:
        versioned = await self.store.find(user_id, voice)
        if versioned is None:
            raise RequestError.of(unknown_voice(voice))
        return versioned

    async def _shown(self, voice: StoredVoice) -> Voice:
        return voice.shown(await asyncio.to_thread(self.network))


@asynccontextmanager
async def _replying() -> AsyncIterator[None]:
    """Convert errors of NATS and Redis, including the error of a full bucket, into error replies; see `answering`."""
    async with answering("NATS or Redis does not answer: try again in a moment."):
        try:
            yield
        except BucketFullError as error:
            message = f"NATS has no room in the bucket {error.bucket}: the operator has to free some (runbook)."
            raise RequestError(ErrorCode.INTERNAL, message) from error
