"""The application: `SEARCH_INDEX=search.db faststream run services.search.main:create_app --factory`."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import apsw
from faststream import AckPolicy, Context, ExceptionMiddleware, FastStream
from faststream.nats import NatsBroker, NatsRouter, PullSub
from faststream.nats.message import NatsMessage
from faststream.specification import AsyncAPI
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig
from nats.js.errors import NotFoundError
from natscribe.faststream import Erased, broker, pull_inbox, streams
from natscribe.schemas.errors import ErrorCode, ErrorDetail, ErrorReply
from natscribe.schemas.kinds import RESULT
from natscribe.schemas.problems import invalid_request, problems_of
from natscribe.schemas.search import SEARCH, TRANSCRIPT, SearchPage, SearchRequest, Transcript, TranscriptRequest
from natscribe.schemas.transcription import TranscriptionResult
from natscribe.schemas.voices import Forgotten
from natscribe.settings import Settings
from pydantic import ValidationError

from services.search.index import Index, WrongIndexError

VERSION = "0.3.0"
DURABLE = "search"  # the name of the positions in both streams
# Of FastStream's pulls in batches a part is lost now and then, and comes again only after _ACK_WAIT_S: nats-py ends a
# pull by a TimeoutError that is not the one of nats-py, and FastStream then drops what it has read.
_PULL = PullSub(batch_size=100)
_PAUSE_S = 0.02  # how long a result waits for others that are indexed in the same transaction
_ACK_WAIT_S = 10.0  # after this time NATS delivers what a service that died has not indexed
_AGAIN_S = 10.0  # after this time messages come again that could not be indexed
log = logging.getLogger(__name__)
Stored = Annotated[NatsMessage, Context("message")]
replies = ExceptionMiddleware()


def index_path() -> Path:
    """Return the file of the index, SEARCH_INDEX."""
    return Path(os.environ.get("SEARCH_INDEX", "search.db"))


class Follower:
    """Indexes what the service publishes; `index` is opened before the first message arrives."""

    index: Index

    def __init__(self, natscribe: NatsBroker) -> None:
        self._natscribe = natscribe
        self._waiting = list[tuple[TranscriptionResult, float]]()  # results of the next transaction
        self._transaction: asyncio.Task[None] | None = None

    async def results(self, message: Stored) -> None:
        """Index a transcript; if that is not possible now, it comes again."""
        result = await self._whole(message.raw_message)
        if result is None:
            await message.ack()
            return
        self._waiting.append((result, _stored(message)))
        self._transaction = self._transaction or asyncio.create_task(self._add())
        await self._written(message, asyncio.shield(self._transaction))

    async def erased(self, event: Erased, message: Stored) -> None:
        """Erase the transcript of a task whose data were erased."""
        await self._written(message, asyncio.to_thread(self.index.erase, event.task_id, _stored(message)))

    async def forgotten(self, event: Forgotten) -> None:
        """Erase a voice that was forgotten; its texts stay."""
        await asyncio.to_thread(self.index.forget, event.voice)

    async def search(self, request: SearchRequest) -> SearchPage:
        """Reply with the segments that have all words of a query, the newest result first."""
        return await asyncio.to_thread(self.index.search, request)

    async def get(self, request: TranscriptRequest) -> Transcript | ErrorReply:
        """Reply with segments of one transcript."""
        found = await asyncio.to_thread(self.index.transcript, request)
        message = f"There is no transcript of the task {request.task_id}: it was erased, or is not indexed yet."
        return found or ErrorReply(error=ErrorDetail(code=ErrorCode.NOT_FOUND, message=message))

    async def _add(self) -> None:
        await asyncio.sleep(_PAUSE_S)
        results, self._waiting, self._transaction = self._waiting, [], None
        await asyncio.to_thread(self.index.add, results)

    async def _written(self, message: NatsMessage, writing: Awaitable[None]) -> None:
        try:
            await writing
        except apsw.Error as error:
            log.warning("The index cannot be written (%s): NATS delivers the events again.", error)
            await message.nack(delay=_AGAIN_S)
        else:
            await message.ack()

    async def _whole(self, message: Msg) -> TranscriptionResult | None:
        """Return the transcript in a message or in its object; None: it has no text, or was erased."""
        body = message.data
        try:
            if whole := json.loads(body)["object"]:
                js = (await self._natscribe.connect()).jetstream()
                body = (await (await js.object_store(whole["bucket"])).get(whole["name"])).data or b""
        except NotFoundError:
            return None
        try:
            result = await asyncio.to_thread(RESULT.validate_json, body)
        except ValidationError:
            log.warning("%s cannot be read: it is not indexed.", message.subject)  # of a later version
            return None
        return result if isinstance(result, TranscriptionResult) else None


@replies.add_handler(ValidationError, publish=True)
def refuse(error: ValidationError) -> ErrorReply:
    """Reply to a request that is not valid with what is wrong."""
    return ErrorReply(error=invalid_request(problems_of(error)))


def create_app() -> FastStream:
    """Return the application; requests arrive at SEARCH_NATS_URL or, without it, at the NATS of the service."""
    settings = Settings.read()
    natscribe, url = broker(settings), os.environ.get("SEARCH_NATS_URL")
    own = NatsBroker(url.split(","), max_reconnect_attempts=-1) if url else natscribe
    follower, names = Follower(natscribe), streams(settings.stream_names)
    stored = partial(
        natscribe.subscriber,
        durable=DURABLE,
        pull_sub=_PULL,
        ack_policy=AckPolicy.MANUAL,
        config=ConsumerConfig(ack_wait=_ACK_WAIT_S),
        inbox_prefix=pull_inbox(settings),
        include_in_schema=False,  # they are in the document of the service
    )
    stored("results.*", stream=names.results)(follower.results)
    stored("erased.*", stream=names.erased)(follower.erased)
    natscribe.subscriber("voices.forgotten.*", include_in_schema=False)(follower.forgotten)
    for subject, reply in ((SEARCH, follower.search), (TRANSCRIPT, follower.get)):
        requests = NatsRouter(middlewares=[replies])  # one each: a document has routers in order, subscribers in any
        requests.subscriber(subject, queue=DURABLE)(reply)
        own.include_router(requests)

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        try:
            follower.index = Index(index_path())
        except WrongIndexError as error:
            sys.exit(str(error))  # a sentence, without a traceback
        try:
            yield
        finally:
            follower.index.close()

    brokers = [natscribe] if own is natscribe else [natscribe, own]
    return FastStream(*brokers, lifespan=opened, specification=AsyncAPI(title="Transcript search", version=VERSION))


def _stored(message: NatsMessage) -> float:
    return message.raw_message.metadata.timestamp.timestamp()
