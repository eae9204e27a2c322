"""Answers `voices.enroll`, `voices.list`, `voices.rename` and `voices.forget`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from natscribe.jetstream.large_results import HEADROOM_BYTES
from natscribe.schemas import subjects
from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.progress import State
from natscribe.schemas.requests import READ_WITHIN_S, sounds_like, unknown_task, without_result
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

from app.engines.messages import Embedded, SpeakerEmbedding
from app.errors import BucketFullError, RequestError, TransientError, refusal
from app.jetstream.records import parse_stored
from app.redis_store.cache import Cache
from app.requests.task_lookup import record_of
from app.task_log.embeddings import EmbeddingStore
from app.task_log.record import Record
from app.task_log.status import status_of
from app.voices.enrolment import chosen_speaker, new_voice, reference_of, with_reference
from app.voices.identification import Identification
from app.voices.store import ChangedMeanwhileError, StoredVoice, VersionedVoice, VoiceStore

TRIES: Final = 5  # requests about one voice at the same time: each try that fails lets another one succeed


class VoiceRequests:
    """Enrols, lists, renames and forgets the voices of users."""

    def __init__(  # noqa: PLR0913 -- what there is of a voice, in several stores
        self,
        nats: Client,
        store: VoiceStore,
        embeddings: EmbeddingStore,
        cache: Cache,
        *,
        identification: Identification,
        network: Callable[[], Model],
        find: Callable[[str], Awaitable[Record | None]],
    ) -> None:
        """`network` returns the network that makes embeddings now; `find` returns the last record of a task."""
        self._nats = nats
        self._store = store
        self._embeddings = embeddings
        self._cache = cache
        self._identification = identification
        self._network = network
        self._find = find

    async def enroll(self, request: EnrollRequest) -> Voice:
        """Make a voice of a speaker of a completed task, or add the speaker to a voice as a reference.

        Raises:
            RequestError: The task has no such speaker, the speaker says too little alone, sounds like two people or has
                another voice already, there is no such voice, or NATS does not answer or has no room.
        """
        async with _answered():
            embedded = await self._embedded(request)
            speaker = chosen_speaker(embedded, request)
            if not request.another:
                await self._refuse_known(request, embedded.model, speaker)
            reference = reference_of(request.task_id, speaker)
            if request.voice is None:
                return await self._add(request, new_voice(request, reference, embedded.model))
            return await self._change(
                request.user_id, request.voice, lambda known: with_reference(known, request, reference, embedded.model)
            )

    async def page(self, request: VoicesRequest) -> VoicePage:
        """Return the voices of a user, or those that follow the place `after`: as many as fit into a reply.

        Raises:
            RequestError: NATS does not answer.
        """
        voices: list[Voice] = []
        last, room = request.after, self._nats.max_payload - HEADROOM_BYTES
        async with _answered():
            async for page in self._store.pages(request.user_id, after=request.after):
                for kept in page:
                    shown = await self._shown(kept.voice)
                    room -= len(shown.model_dump_json()) + 1
                    if room < 0:
                        return VoicePage(voices=voices, more_after=last)
                    voices.append(shown)
                    last = kept.sequence
        return VoicePage(voices=voices)

    async def rename(self, request: RenameRequest) -> Voice:
        """Give a voice another name.

        Raises:
            RequestError: The user has no such voice, or NATS does not answer.
        """
        async with _answered():
            return await self._change(
                request.user_id, request.voice, lambda known: known.model_copy(update={"name": request.name})
            )

    async def forget(self, request: ForgetRequest) -> Forgotten:
        """Remove a voice, and publish that it was forgotten.

        The embeddings and the cached findings of the tasks from which the person was enrolled are removed first.

        Raises:
            RequestError: The user has no such voice, or not everything could be removed.
        """
        async with _answered():
            return await self._forget(await self._known(request.user_id, request.voice))

    async def forget_all(self, user_id: int | str) -> AsyncGenerator[None]:
        """Forget all voices of a user, and yield after each.

        Raises:
            RequestError: Not everything could be removed.
        """
        async with _answered():
            found = [kept async for page in self._store.pages(user_id) for kept in page]
        for kept in found:
            async with _answered():
                await self._forget(kept)
            yield

    async def _forget(self, known: VersionedVoice) -> Forgotten:
        """Remove embeddings and findings of a voice's tasks, then the voice: an interrupted removal can be repeated.

        Another request may add a reference meanwhile: then that version of the voice is removed in the same way.
        """
        voice = known.voice
        await self._erase_findings(voice.references)
        await self._store.remove(known)
        later = await self._store.find(voice.user_id, voice.voice)
        if later is not None:
            return await self._forget(later)
        done = Forgotten(voice=voice.voice, user_id=voice.user_id, at=datetime.now(UTC))
        body, headers = done.model_dump_json().encode(), {"content-type": "application/json"}
        await self._nats.publish(subjects.forgotten(voice.voice), body, headers=headers)
        return done

    async def _erase_findings(self, references: Iterable[Reference]) -> None:
        """Remove the embeddings and the cached findings of the tasks from which these references are."""
        for task_id in {reference.task_id for reference in references}:
            await self._embeddings.delete(task_id)
            await self._cache.erase(task_id)

    async def _add(self, request: EnrollRequest, made: StoredVoice) -> Voice:
        """Store a new voice, and confirm it unless another request has just removed the embeddings of its task.

        Whoever erases a person or a user removes embeddings first and voices last: if the embeddings are still there
        once the voice is stored, a later erasure finds the voice. A voice that is not confirmed expires.

        Raises:
            RequestError: The embeddings are gone.
        """
        await self._store.add(made)
        await self._embedded(request)
        return await self._change(made.user_id, made.voice, lambda known: known)

    async def _embedded(self, request: EnrollRequest) -> Embedded:
        record = await record_of(self._find, request.task_id)
        task = record.metadata.task
        if task is None or task.user_id != request.user_id:
            raise refusal(unknown_task(request.task_id))
        if record.event.state is not State.COMPLETED:
            raise refusal(without_result(status_of(record)))
        kept = await self._embeddings.find(request.task_id, of=record.metadata.owner)
        if kept is None:
            message = (
                f"No voices of task {request.task_id} are kept: publish a diarization of the recording, or a "
                "transcription with diarize, with `identify: true`, and enrol from that within seven days."
            )
            raise RequestError(ErrorCode.NOT_FOUND, message)
        return parse_stored(Embedded, kept, f"embeddings.{request.task_id}")

    async def _refuse_known(self, request: EnrollRequest, model: Model, speaker: SpeakerEmbedding) -> None:
        """Raise an error if the speaker has a voice already: two voices of one person could not be told apart.

        Raises:
            RequestError: The speaker has another voice than the one to which the request adds a reference.
        """
        label, alone = speaker.speaker, Embedded(model=model, speakers=[speaker])
        found = (await self._identification.compare(request.user_id, alone, [label])).voices or {}
        known = found[label].voice
        if known is not None and known != request.voice:
            raise refusal(sounds_like(label, known))

    async def _change(self, user_id: int | str, voice: str, change: Callable[[StoredVoice], StoredVoice]) -> Voice:
        for _ in range(TRIES):
            known = await self._known(user_id, voice)
            changed = change(known.voice)
            kept = {reference.task_id for reference in changed.references}
            await self._erase_findings(old for old in known.voice.references if old.task_id not in kept)
            try:
                await self._store.put(changed, after=known.sequence)
            except ChangedMeanwhileError:
                continue
            return await self._shown(changed)
        message = "The voice is being changed by several requests at once: ask again in a moment."
        raise RequestError(ErrorCode.INTERNAL, message)

    async def _known(self, user_id: int | str, voice: str) -> VersionedVoice:
        known = await self._store.find(user_id, voice)
        if known is None:
            message = f"The user has no voice {voice}: voices.list shows the voices of a user."
            raise RequestError(ErrorCode.NOT_FOUND, message)
        return known

    async def _shown(self, voice: StoredVoice) -> Voice:
        return voice.shown(await asyncio.to_thread(self._network))


@asynccontextmanager
async def _answered() -> AsyncIterator[None]:
    """Give the block READ_WITHIN_S, and turn errors of NATS and Redis into errors that clients understand."""
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            yield
    except BucketFullError as error:
        message = f"NATS has no room in the bucket {error.bucket}: the operator has to make room (runbook)."
        raise RequestError(ErrorCode.INTERNAL, message) from error
    except (NatsError, TransientError, TimeoutError) as error:
        message = "NATS or Redis does not answer: ask again in a moment."
        raise RequestError(ErrorCode.INTERNAL, message) from error
