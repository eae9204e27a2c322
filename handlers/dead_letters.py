"""dead_letters.*: requests to replay or delete dead letters."""

from typing import Annotated

from natscribe.schemas import subjects
from natscribe.schemas.requests import DeleteLettersRequest, LettersDeleted, Replayed, ReplayRequest

from app.dead_letters.replay import Replayer
from app.dead_letters.store import DeadLetterStore
from handlers.dependencies import FromContext
from handlers.replies import request_route


async def replay(request: ReplayRequest, replayer: Annotated[Replayer, FromContext()]) -> Replayed:
    """Queue the tasks of dead letters again, chosen by task, kind or error code."""
    return Replayed(replayed=await replayer.replay(request))


async def delete(
    request: DeleteLettersRequest, dead_letters: Annotated[DeadLetterStore, FromContext()]
) -> LettersDeleted:
    """Delete dead letters, chosen by task, kind or error code."""
    return await dead_letters.delete(request)


ROUTES = (
    request_route(subjects.REPLAY, replay),
    request_route(subjects.DELETE_LETTERS, delete),
)
