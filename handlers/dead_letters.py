"""dead_letters.*: dead letters are replayed or removed."""

from typing import Annotated

from app.dead_letters.replay import Replayer
from app.dead_letters.store import DeadLetterStore
from handlers.dependencies import FromContext
from schemas.requests import DeleteLettersRequest, LettersDeleted, Replayed, ReplayRequest


async def replay(request: ReplayRequest, replayer: Annotated[Replayer, FromContext()]) -> Replayed:
    """Queue tasks of dead letters again, by task, kind or error code."""
    return Replayed(replayed=await replayer.replay(request))


async def delete(
    request: DeleteLettersRequest, dead_letters: Annotated[DeadLetterStore, FromContext()]
) -> LettersDeleted:
    """Remove dead letters, by task, kind or error code."""
    return await dead_letters.delete(request)
