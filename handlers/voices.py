"""Handles requests of clients about voices, i.e. enrolled persons: enrol, list, rename and forget them."""

from natscribe.schemas import channels
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
from handlers.dependencies import part
from handlers.replies import request_route


async def enroll(request: EnrollRequest, voices: VoiceRequests = part(lambda worker: worker.voices)) -> Voice:
    """Create a voice from a speaker of a completed task, or add the speaker to a voice as another reference.

    A voice is an enrolled person. Its references are the embeddings of this person's speech in single tasks, with which
    speakers of later tasks are compared. The task needs `identify: true`, and the speaker must speak alone for at least
    15 s. The speaker embeddings of a task are stored as long as its result. A recognized voice is no proof of identity.
    """
    return await voices.enroll(request)


async def list_voices(request: VoicesRequest, voices: VoiceRequests = part(lambda worker: worker.voices)) -> VoicePage:
    """Reply with the voices of a user, without their embeddings.

    Every client that may send this request can list the voices of all users: `user_id` is not a permission.
    """
    return await voices.page(request)


async def rename(request: RenameRequest, voices: VoiceRequests = part(lambda worker: worker.voices)) -> Voice:
    """Rename an enrolled voice.

    Results that name the voice show the new name at once: names are looked up when a result is read.
    """
    return await voices.rename(request)


async def forget(request: ForgetRequest, voices: VoiceRequests = part(lambda worker: worker.voices)) -> Forgotten:
    """Erase an enrolled voice.

    The service erases the name, the consent and the references of the voice, the embeddings of the tasks from which it
    was enrolled, and the cached data of their recordings. Stored results keep the id of the voice; `tasks.result` then
    shows the speaker as `unknown`. To erase all voices of a user, delete the user.
    """
    return await voices.forget(request)


ROUTES = (
    request_route(channels.ENROLL, enroll),
    request_route(channels.VOICES, list_voices),
    request_route(channels.RENAME, rename),
    request_route(channels.FORGET, forget),
)
