"""Requests of clients about voices: who is enrolled."""

from typing import Annotated

from natscribe.schemas import subjects
from natscribe.schemas.voices import (
    EnrollRequest,
    ForgetRequest,
    Forgotten,
    RenameRequest,
    Voice,
    VoicePage,
    VoicesRequest,
)

from app.requests.voice_requests import VoiceRequests
from handlers.dependencies import FromContext
from handlers.replies import request_route


async def enroll(request: EnrollRequest, voices: Annotated[VoiceRequests, FromContext()]) -> Voice:
    """Make a voice of a speaker of a completed task, or add a reference to a voice."""
    return await voices.enroll(request)


async def list_voices(request: VoicesRequest, voices: Annotated[VoiceRequests, FromContext()]) -> VoicePage:
    """Reply with the voices of a user."""
    return await voices.page(request)


async def rename(request: RenameRequest, voices: Annotated[VoiceRequests, FromContext()]) -> Voice:
    """Give a voice another name."""
    return await voices.rename(request)


async def forget(request: ForgetRequest, voices: Annotated[VoiceRequests, FromContext()]) -> Forgotten:
    """Forget a voice."""
    return await voices.forget(request)


ROUTES = (
    request_route(subjects.ENROLL, enroll),
    request_route(subjects.VOICES, list_voices),
    request_route(subjects.RENAME, rename),
    request_route(subjects.FORGET, forget),
)
