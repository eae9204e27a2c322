"""dead_letters.*: requests to replay or delete dead letters."""

from typing import Annotated

from natscribe.schemas import subjects
from natscribe.schemas.requests import DeleteLettersRequest, LettersDeleted, Replayed, ReplayRequest

from app.dead_letters.replay import Replayer
from app.dead_letters.store import DeadLetterStore
from handlers.dependencies import FromContext
from handlers.replies import BY_ONE_WORKER
from handlers.routes import Routes

router = Routes()


@router.subscriber(subjects.REPLAY, **BY_ONE_WORKER)
async def replay(request: ReplayRequest, replayer: Annotated[Replayer, FromContext()]) -> Replayed:
    """Queue the tasks of dead letters again, chosen by task, kind or error code."""
    return Replayed(replayed=await replayer.replay(request))


@router.subscriber(subjects.DELETE_LETTERS, **BY_ONE_WORKER)
async def delete(
    request: DeleteLettersRequest, dead_letters: Annotated[DeadLetterStore, FromContext()]
) -> LettersDeleted:
    """Delete dead letters, chosen by task, kind or error code."""
    return await dead_letters.delete(request)
