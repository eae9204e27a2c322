"""Handles `text.redact`: replaces personal data in a text that a client sends."""

import asyncio
from dataclasses import dataclass, field

from natscribe.schemas.errors import ErrorCode
from natscribe.schemas.redaction import Redacted, RedactRequest

from app.engines.engine import Engine
from app.engines.persons import find_persons
from app.engines.text.redaction.persons import check_models
from app.engines.text.redaction.redaction import redacted
from app.runtime.errors import PermanentError, RequestError, TaskError
from app.runtime.telemetry.metrics import Meter


@dataclass(frozen=True, slots=True)
class TextRedaction:
    """Redacts texts in a thread, one after the other, so that texts occupy one thread and delay no task."""

    engine: Engine
    meter: Meter
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def redact(self, request: RedactRequest) -> Redacted:
        """Return the text of a request in which personal data is replaced.

        Raises:
            RequestError: The service lacks the models for names of persons, or they failed.
        """
        text, language, wanted = request.text, request.language, request.redact
        try:
            check_models(wanted)
            async with self._one:
                persons = await find_persons(self.engine, text, language, wanted.types)
                reply = await asyncio.to_thread(redacted, text, language, wanted.types, wanted.replace, persons)
        except PermanentError as error:
            raise RequestError(ErrorCode.INVALID_REQUEST, error.detail.message) from error
        except TaskError as error:
            raise RequestError(ErrorCode.INTERNAL, error.detail.message) from error
        for entity in reply.entities:
            self.meter.redacted.labels(entity.type).inc()
        return reply
