"""Handles requests to replay or delete dead letters, i.e. stored task messages that failed permanently."""

from natscribe.schemas import channels
from natscribe.schemas.requests import DeleteLettersRequest, LettersDeleted, Replayed, ReplayRequest

from app.tasks.dead_letters.replay import Replayer
from app.tasks.dead_letters.store import DeadLetterStore
from handlers.dependencies import part
from handlers.replies import request_route


async def replay(request: ReplayRequest, replayer: Replayer = part(lambda worker: worker.replayer)) -> Replayed:
    """Queue the tasks of dead letters again; a task id, a kind or an error code selects the dead letters.

    Tasks that ended as `failed` are queued under their own id, and start from the beginning. If the stored message of a
    task is invalid or truncated, the task cannot be queued again, and its dead letter remains stored.
    """
    return Replayed(replayed=await replayer.replay(request))


async def delete(
    request: DeleteLettersRequest, dead_letters: DeadLetterStore = part(lambda worker: worker.dead_letters)
) -> LettersDeleted:
    """Delete dead letters, which a task id, a kind or an error code selects.

    Dead letters of messages without a task id are deleted, too. All other data of the tasks stays. If there are many
    dead letters, the reply says where to continue.
    """
    return await dead_letters.delete(request)


ROUTES = (
    request_route(channels.REPLAY, replay),
    request_route(channels.DELETE_LETTERS, delete),
)
