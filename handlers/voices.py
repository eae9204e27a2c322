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

from app.answers.voices import VoiceRequests
from handlers.dependencies import FromContext
from handlers.replies import BY_ONE_WORKER
from handlers.routes import Routes

router = Routes()


@router.subscriber(subjects.ENROLL, **BY_ONE_WORKER)
async def enroll(request: EnrollRequest, voices: Annotated[VoiceRequests, FromContext()]) -> Voice:
    """Make a voice of a speaker of a completed task, or add a reference to a voice."""
    return await voices.enroll(request)


@router.subscriber(subjects.VOICES, **BY_ONE_WORKER)
async def list_voices(request: VoicesRequest, voices: Annotated[VoiceRequests, FromContext()]) -> VoicePage:
    """Reply with the voices of a user."""
    return await voices.page(request)


@router.subscriber(subjects.RENAME, **BY_ONE_WORKER)
async def rename(request: RenameRequest, voices: Annotated[VoiceRequests, FromContext()]) -> Voice:
    """Give a voice another name."""
    return await voices.rename(request)


@router.subscriber(subjects.FORGET, **BY_ONE_WORKER)
async def forget(request: ForgetRequest, voices: Annotated[VoiceRequests, FromContext()]) -> Forgotten:
    """Forget a voice."""
    return await voices.forget(request)
