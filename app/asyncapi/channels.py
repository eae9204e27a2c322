"""The channels of the AsyncAPI document, with the ids from which clients generate code."""

from dataclasses import dataclass
from typing import Final

from natscribe.schemas import subjects
from natscribe.schemas.kinds import TASKS
from natscribe.schemas.wire import Input, Lane

SUBMIT, FOLLOW, QUERY, NAME, OPERATE, INSIDE = "submit", "follow", "ask", "name", "operate", "inside"

TAGS: Final = {
    SUBMIT: "Submit tasks.",
    FOLLOW: "Follow tasks and read results.",
    QUERY: "Query, cancel and delete tasks.",
    NAME: "Voices.",
    OPERATE: "For operators.",
    INSIDE: "Between workers: not for clients.",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel of the AsyncAPI document: `name` is its id, `operation` is the id of its only operation.

    `address` is its subject, with parameters such as `{task_id}`; `tag` is the group in which the document lists it.
    `only`: the one payload class on this channel, if its handler serves several channels with different payload
    classes; None: the channel has all payload classes of its handler.
    """

    name: str
    address: str
    operation: str
    tag: str
    only: type[Input] | None = None


def _accepted(lane: Lane) -> Channel:
    name = lane.capitalize()
    return Channel(f"accepted{name}Tasks", subjects.accepted(lane, "{priority}"), f"accept{name}", INSIDE, TASKS[lane])


CHANNELS: Final = (
    *(
        Channel(f"{lane}Tasks", subjects.tasks(lane, "{priority}"), f"submit{lane.capitalize()}", SUBMIT)
        for lane in Lane
    ),
    Channel("liveAudio", subjects.live_audio("{task_id}"), "publishFrame", SUBMIT),
    Channel("progress", subjects.progress("{task_id}"), "followProgress", FOLLOW),
    Channel("segments", subjects.segments("{task_id}"), "followSegments", FOLLOW),
    Channel("speakers", subjects.speakers("{task_id}"), "followSpeakers", FOLLOW),
    Channel("partials", subjects.partials("{task_id}"), "followPartials", FOLLOW),
    Channel("results", subjects.results("{task_id}"), "receiveResult", FOLLOW),
    Channel("statusRequests", subjects.STATUS, "askStatus", QUERY),
    Channel("resultRequests", subjects.RESULT, "askResult", QUERY),
    Channel("listRequests", subjects.LIST, "listTasks", QUERY),
    Channel("queueRequests", subjects.TASK_QUEUES, "askQueue", QUERY),
    Channel("workerRequests", subjects.WORKERS, "askWorkers", QUERY),
    Channel("cancelRequests", subjects.CANCEL, "cancelTask", QUERY),
    Channel("deleteRequests", subjects.DELETE, "deleteTask", QUERY),
    Channel("enrollRequests", subjects.ENROLL, "enrollVoice", NAME),
    Channel("voicesRequests", subjects.VOICES, "listVoices", NAME),
    Channel("renameRequests", subjects.RENAME, "renameVoice", NAME),
    Channel("forgetRequests", subjects.FORGET, "forgetVoice", NAME),
    Channel("forgottenVoices", subjects.forgotten("{voice}"), "followForgotten", NAME),
    Channel("deadLetters", subjects.dead_letters("{kind}"), "watchDeadLetters", OPERATE),
    Channel("replayRequests", subjects.REPLAY, "replayDeadLetters", OPERATE),
    Channel("letterDeletionRequests", subjects.DELETE_LETTERS, "deleteDeadLetters", OPERATE),
    *map(_accepted, Lane),
    Channel("windowRequests", subjects.windows("{engine}"), "transcribeWindow", INSIDE),
)
