"""dead_letters.replay: try again what could not be done."""

from typing import Annotated

from handlers.given import Given
from handlers.ports import DeadLetters
from schemas.requests import Replayed, ReplayRequest


async def replay(request: ReplayRequest, dead_letters: Annotated[DeadLetters, Given()]) -> Replayed:
    """Queue dead letters again, by task, kind or error code."""
    count = await dead_letters.replay(task_id=request.task_id, kind=request.kind, code=request.code)
    return Replayed(replayed=count)
