"""The key-value bucket `voices`: stores the people whom users have enrolled, one message per person."""

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

from app.storage.jetstream.key_value import VOICES_BUCKET, key_value_stream, key_value_subject, put
from app.storage.jetstream.records import parse_stored
from app.storage.jetstream.stream_log import EXPECTED_SEQUENCE, WRONG_LAST_SEQUENCE
from app.storage.jetstream.tokens import token

UNCONFIRMED_S: Final = 5  # lifetime of a new voice unless its request, which takes READ_WITHIN_S, confirms it
_STREAM: Final = key_value_stream(VOICES_BUCKET)


class ChangedMeanwhileError(Exception):
    """Another request has changed or erased a voice since it was read: read the voice again."""


class StoredReference(Reference):
    """A reference of a voice: the two embeddings of an enrolled person in one task, 192 signed bytes each, in base64.

    `values`: of the speech as recorded. `telephone`: of the same speech in telephone bandwidth.
    """

    model_config = ConfigDict(extra="allow")
    values: str = Field(repr=False)
    telephone: str = Field(repr=False)


class StoredVoice(BaseModel):
    """A voice as the bucket stores it: an enrolled person, and the references of this person.

    `voice`: its id. `model`: the network that computed the embeddings of all references.
    """

    model_config = ConfigDict(frozen=True, extra="allow")  # fields of other versions survive a change
    voice: str
    user_id: UserId
    name: str = Field(repr=False)
    consent: Consent = Field(repr=False)
    model: Model
    references: list[StoredReference] = Field(repr=False)

    def shown(self, model: Model | None) -> Voice:
        """Return the voice in the form that clients get, without embeddings.

        `model`: the current embedding model; voices of other models are marked as not comparable. None: every voice is
        marked as comparable.
        """
        references = [Reference(**item.model_dump(include=set(Reference.model_fields))) for item in self.references]
        return Voice(
            voice=self.voice,
            name=self.name,
            consent=self.consent,
            references=references,
            model=self.model,
            comparable=model is None or self.model.revision == model.revision,
        )


class _Embeddings(TypedDict):
    values: str
    telephone: str


class ComparableVoice(TypedDict):
    """The fields of a stored voice that identification needs.

    Only these are parsed, because a task may be compared with a thousand voices.
    """

    voice: str
    user_id: int | str
    model: Model
    references: list[_Embeddings]


_COMPARABLE: Final[TypeAdapter[ComparableVoice]] = TypeAdapter(ComparableVoice)


class VersionedVoice(NamedTuple):
    """A voice, and the stream sequence of the message from which it was read."""

    voice: StoredVoice
    sequence: int


class VoiceStore:
    """Stores and reads enrolled persons in the bucket `voices`, under the id of the user and the id of the person."""

    def __init__(self, nats: Client) -> None:
        self._nats = nats
        self._js = nats.jetstream()

    async def pages(self, user_id: int | str, *, after: int = 0) -> AsyncIterator[list[VersionedVoice]]:
        """Yield pages of the voices of a user, in the order of their last changes.

        `after`: the stream sequence after which to start.

        Raises:
            NatsError: NATS does not reply.
        """
        async for page in stream_pages.pages(self._nats, _STREAM, _subject(user_id, "*"), after=after):
            yield [version for message in page if (version := _read(message)) and version.voice.user_id == user_id]

    async def comparable(self, user_id: int | str) -> list[ComparableVoice]:
        """Return all voices of a user, each with only those fields that identification needs.

        Raises:
            NatsError: NATS does not reply.
        """
        pages = stream_pages.pages(self._nats, _STREAM, _subject(user_id, "*"))
        voices = [parse_stored(_COMPARABLE, item.data, _STREAM) async for page in pages for item in page if item.data]
        return [voice for voice in voices if voice["user_id"] == user_id]

    async def find(self, user_id: int | str, voice: str) -> VersionedVoice | None:
        """Return the voice with the id `voice`; None if the user has no such voice.

        Raises:
            NatsError: NATS does not reply.
        """
        message = await leader_reads.last_message(self._nats, _STREAM, _subject(user_id, voice))
        version = _read(message) if message is not None else None
        return version if version is not None and version.voice.user_id == user_id else None

    async def add(self, voice: StoredVoice) -> None:
        """Store a new voice, which JetStream removes after UNCONFIRMED_S seconds unless `put` replaces its message.

        Raises:
            BucketFullError: The bucket has no room.
            NatsError: NATS does not reply.
        """
        with suppress(ChangedMeanwhileError):  # the id is new, so an earlier try whose reply was lost has stored it
            await self.put(voice, after=0)

    async def put(self, voice: StoredVoice, *, after: int) -> None:
        """Store a voice in place of its last message in the bucket.

        `after`: the stream sequence that this last message must have; 0: the voice must have no message yet.

        Raises:
            BucketFullError: The bucket has no room.
            ChangedMeanwhileError: The voice now has another message, or none.
            NatsError: NATS does not reply.
        """
        key, body = _key(voice.user_id, voice.voice), voice.model_dump_json().encode()
        headers = {EXPECTED_SEQUENCE: str(after)} | ({} if after else {"Nats-TTL": f"{UNCONFIRMED_S}s"})
        try:
            await put(self._js, VOICES_BUCKET, key, body, headers)
        except BadRequestError as error:
            if error.err_code == WRONG_LAST_SEQUENCE:
                raise ChangedMeanwhileError from error
            raise

    async def erase(self, version: VersionedVoice) -> None:
        """Purge a voice, up to and including the version that was read; a later version of the voice remains.

        Raises:
            NatsError: NATS does not reply.
        """
        subject = _subject(version.voice.user_id, version.voice.voice)
        await self._js.purge_stream(_STREAM, subject=subject, seq=version.sequence + 1)


def _subject(user_id: int | str, voice: str) -> str:
    return key_value_subject(VOICES_BUCKET, _key(user_id, voice))


def _key(user_id: int | str, voice: str) -> str:
    return f"{token(user_id)}.{voice}"


def _read(message: RawStreamMsg) -> VersionedVoice | None:
    """Parse the message of a voice; None if the message is empty, because it marks the voice as deleted.

    Raises:
        UnreadableError: Another version of the service has written the voice.
    """
    return VersionedVoice(parse_stored(StoredVoice, message.data, _STREAM), message.seq or 0) if message.data else None
