"""Handles `text.redact`: replaces personal data in a text that a client sends."""

import asyncio
from dataclasses import dataclass, field

from natscribe.schemas.redaction import Redacted, RedactRequest

from app.engines.text.redaction.redaction import redacted
from app.runtime.telemetry.metrics import Meter


@dataclass(frozen=True, slots=True)
class TextRedaction:
    """Redacts texts in a thread, one after the other, so that texts occupy one thread and delay no task."""

    meter: Meter
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def redact(self, request: RedactRequest) -> Redacted:
        """Return the text of a request in which personal data is replaced."""
        wanted = request.redact
        async with self._one:
            reply = await asyncio.to_thread(redacted, request.text, request.language, wanted.types, wanted.replace)
        for entity in reply.entities:
            self.meter.redacted.labels(entity.type).inc()
        return reply
