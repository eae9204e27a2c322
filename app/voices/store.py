"""The bucket `voices`: it has a message for each voice, and keeps no older versions."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final, NamedTuple

from nats.aio.client import Client
from nats.js.api import RawStreamMsg
from nats.js.errors import BadRequestError
from natscribe.jetstream import leader_reads, stream_pages
from natscribe.schemas.voices import Consent, Reference, Voice
from natscribe.schemas.wire import Model, UserId
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from typing_extensions import TypedDict

from app.jetstream.buckets import put
from app.jetstream.key_value import VOICES_BUCKET, key_value_stream, key_value_subject
from app.jetstream.records import parse_stored
from app.jetstream.stream_log import EXPECTED_SEQUENCE, WRONG_LAST_SEQUENCE
from app.jetstream.tokens import token

UNCONFIRMED_S: Final = 5  # how long a new voice stays unless its request, which takes READ_WITHIN_S, confirms it
_STREAM: Final = key_value_stream(VOICES_BUCKET)


class ChangedMeanwhileError(Exception):
    """Another request has changed or forgotten the voice meanwhile: read the voice again."""


class StoredReference(Reference):
    """A reference with its two embeddings: 192 whole numbers of a byte each, in base64."""

    model_config = ConfigDict(extra="allow")
    values: str = Field(repr=False)
    telephone: str = Field(repr=False)


class StoredVoice(BaseModel):
    """A voice as the bucket stores it: an enrolled person, and the references of this person."""

    model_config = ConfigDict(frozen=True, extra="allow")  # a voice that is changed keeps what this version lacks
    voice: str
    user_id: UserId
    name: str = Field(repr=False)
    consent: Consent = Field(repr=False)
    model: Model
    references: list[StoredReference] = Field(repr=False)

    def shown(self, model: Model | None) -> Voice:
        """Return the voice as clients see it, without embeddings.

        `model`: the network that makes embeddings now: a voice of another network is marked as not comparable. None:
        every voice is marked as comparable.
        """
        references = [Reference(**each.model_dump(include=set(Reference.model_fields))) for each in self.references]
        return Voice(
            voice=self.voice,
            name=self.name,
            consent=self.consent,
            references=references,
            model=self.model,
            comparable=model is None or self.model.revision == model.revision,
        )


class _Heard(TypedDict):
    values: str
    telephone: str


class ComparableVoice(TypedDict):
    """The fields of a voice that a comparison with speakers needs.

    A task may need a thousand voices, so their other fields are not read.
    """

    voice: str
    user_id: int | str
    model: Model
    references: list[_Heard]


_COMPARED: Final[TypeAdapter[ComparableVoice]] = TypeAdapter(ComparableVoice)


class VersionedVoice(NamedTuple):
    """A voice that the bucket holds, and the stream sequence of its message."""

    voice: StoredVoice
    sequence: int


class VoiceStore:
    """Stores voices in the bucket, by user and id, and finds them."""

    def __init__(self, nats: Client) -> None:
        self._nats = nats
        self._js = nats.jetstream()

    async def pages(self, user_id: int | str, *, after: int = 0) -> AsyncIterator[list[VersionedVoice]]:
        """Yield the voices of a user in the order of their last changes, some at a time.

        `after`: the stream sequence after which to begin.

        Raises:
            NatsError: NATS does not answer.
        """
        async for page in stream_pages.pages(self._nats, _STREAM, _subject(user_id, "*"), after=after):
            yield [kept for message in page if (kept := _read(message)) and kept.voice.user_id == user_id]

    async def compared(self, user_id: int | str) -> list[ComparableVoice]:
        """Return all voices of a user, each with those fields alone that a comparison with speakers needs.

        Raises:
            NatsError: NATS does not answer.
        """
        pages = stream_pages.pages(self._nats, _STREAM, _subject(user_id, "*"))
        found = [voice async for page in pages for message in page if (voice := _read_compared(message))]
        return [each for each in found if each["user_id"] == user_id]

    async def find(self, user_id: int | str, voice: str) -> VersionedVoice | None:
        """Return a voice; None if the user has no such voice.

        Raises:
            NatsError: NATS does not answer.
        """
        found = await leader_reads.last(self._nats, _STREAM, _subject(user_id, voice))
        kept = _read(found) if found is not None else None
        return kept if kept is not None and kept.voice.user_id == user_id else None

    async def add(self, voice: StoredVoice) -> None:
        """Store a new voice for UNCONFIRMED_S seconds: `put` in place of this message confirms it.

        Raises:
            BucketFullError: The bucket has no room.
            NatsError: NATS does not answer.
        """
        with suppress(ChangedMeanwhileError):  # the id is new, so an earlier try has stored it, whose answer was lost
            await self.put(voice, after=0)

    async def put(self, voice: StoredVoice, *, after: int) -> None:
        """Store a voice in place of its message with the stream sequence `after`; 0: it has no message yet.

        Raises:
            BucketFullError: The bucket has no room.
            ChangedMeanwhileError: The voice has another message by now, or none.
            NatsError: NATS does not answer.
        """
        key, body = _key(voice.user_id, voice.voice), voice.model_dump_json().encode()
        headers = {EXPECTED_SEQUENCE: str(after)} | ({} if after else {"Nats-TTL": f"{UNCONFIRMED_S}s"})
        try:
            await put(self._js, VOICES_BUCKET, key, body, headers)
        except BadRequestError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                raise ChangedMeanwhileError from error
            raise

    async def remove(self, known: VersionedVoice) -> None:
        """Remove a voice as it was read, so that the bucket holds nothing of it; a later change of the voice stays.

        Raises:
            NatsError: NATS does not answer.
        """
        subject = _subject(known.voice.user_id, known.voice.voice)
        await self._js.purge_stream(_STREAM, subject=subject, seq=known.sequence + 1)


def _subject(user_id: int | str, voice: str) -> str:
    return key_value_subject(VOICES_BUCKET, _key(user_id, voice))


def _key(user_id: int | str, voice: str) -> str:
    return f"{token(user_id)}.{voice}"


def _read_compared(message: RawStreamMsg) -> ComparableVoice | None:
    return parse_stored(_COMPARED, message.data, _STREAM) if message.data else None


def _read(message: RawStreamMsg) -> VersionedVoice | None:
    """Read a voice from its message; None if the message has no content, as one that deletes a key.

    Raises:
        UnreadableError: Another version of the service has written the voice.
    """
    return VersionedVoice(parse_stored(StoredVoice, message.data, _STREAM), message.seq or 0) if message.data else None
