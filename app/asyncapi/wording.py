"""The channels as people are told of them: what each is called, and what to know before using it."""

from dataclasses import dataclass
from typing import Final

from schemas import subjects
from schemas.wire import Kind

SUBMIT, FOLLOW, ASK, OPERATE, INSIDE = "submit", "follow", "ask", "operate", "inside"

TAGS: Final = {
    SUBMIT: "Give the service something to do.",
    FOLLOW: "Hear how it goes and what comes of it.",
    ASK: "Ask about a task, or change its course.",
    OPERATE: "For whoever runs the service.",
    INSIDE: "Between the parts of the service: not for clients.",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel and the one operation on it."""

    name: str
    address: str
    title: str
    description: str
    operation: str
    summary: str
    tag: str


def _task_queue(kind: Kind) -> Channel:
    return Channel(
        name=f"{kind}Tasks",
        address=subjects.tasks_channel(kind),
        title=f"{kind.capitalize()} tasks",
        description=f"The queues of {kind} tasks, one for each priority. Publish with JetStream and wait for its "
        "acknowledgement: only a task that is acknowledged is stored. A full queue refuses the task with an error "
        "(err_code 10077); a misspelt priority is an error too (no responders). A message that is no valid task "
        "becomes a dead letter; if it carries a task id that is not known yet, its progress says `failed` as well.",
        operation=f"submit{kind.capitalize()}",
        summary=f"Ask for the {kind} of a recording",
        tag=SUBMIT,
    )


def _accepted(kind: Kind) -> Channel:
    return Channel(
        name=f"accepted{kind.capitalize()}Tasks",
        address=subjects.accepted_channel(kind),
        title=f"Accepted {kind} tasks",
        description="What the task stream has stored, repeated by JetStream for the workers (core NATS, not kept).",
        operation=f"accept{kind.capitalize()}",
        summary=f"Wake the workers for a {kind} task, and say `queued`",
        tag=INSIDE,
    )


CHANNELS: Final = (
    *(_task_queue(kind) for kind in Kind),
    Channel(
        name="progress",
        address=subjects.PROGRESS_CHANNEL,
        title="Progress of a task",
        description="All that happens to one task, in order: `sequence` counts from 1 without gaps. Subscribe before "
        "or after publishing the task: read the stream from its first message of this subject on (an ordered "
        "consumer, deliver policy `all`), and the past is there too. `completed`, `failed` and `cancelled` are final. "
        "A running task is heard from at least every 10 s and at most once a second.",
        operation="followProgress",
        summary="Follow a task until it ends",
        tag=FOLLOW,
    ),
    Channel(
        name="segments",
        address=subjects.SEGMENTS_CHANNEL,
        title="Segments of a transcription",
        description="The text as it is found, while the task runs: each event holds what was transcribed since the "
        "one before. Live segments have no speakers, unless each channel is one (`channels`: `separate`); then the "
        "channels come one after the other, each from its beginning. After a lost worker the next one goes on where "
        "the last event ends, so nothing is said twice. Only transcriptions have segments.",
        operation="followSegments",
        summary="Read the text while it is found",
        tag=FOLLOW,
    ),
    Channel(
        name="results",
        address=subjects.RESULTS_CHANNEL,
        title="Result of a task",
        description="One message a task, stored just before its progress says `completed`. Where `object` is not "
        "null, the whole result lies in the bucket for results under the task id: fetch it there.",
        operation="receiveResult",
        summary="Read the result",
        tag=FOLLOW,
    ),
    Channel(
        name="statusRequests",
        address=subjects.STATUS,
        title="Where a task stands",
        description="Core NATS request and reply.",
        operation="askStatus",
        summary="Ask where a task stands",
        tag=ASK,
    ),
    Channel(
        name="resultRequests",
        address=subjects.RESULT,
        title="The result in a format",
        description="Core NATS request and reply. The header `content-type` of the reply says what it is: "
        "`text/plain` is the text that was asked for, `application/json` is the result, or `{error: ...}`, or, where "
        "the text is too large for a message, the result with `object`. A failed task answers with its own error.",
        operation="askResult",
        summary="Ask for the result, as JSON, text or subtitles",
        tag=ASK,
    ),
    Channel(
        name="cancelRequests",
        address=subjects.CANCEL,
        title="Cancel a task",
        description="Core NATS request and reply. The reply is the status after it; a task that has ended stays as "
        "it is.",
        operation="cancelTask",
        summary="Cancel a task, queued or running",
        tag=ASK,
    ),
    Channel(
        name="deleteRequests",
        address=subjects.DELETE,
        title="Delete a task",
        description="Core NATS request and reply. Events, result, dead letters and the recording in the service's "
        "bucket are gone after it; a task that has not ended is cancelled first. JetStream remembers "
        "`Nats-Msg-Id` a little longer: see the deduplication window of the task stream.",
        operation="deleteTask",
        summary="Delete all that is kept of a task",
        tag=ASK,
    ),
    Channel(
        name="deadLetters",
        address=subjects.DEAD_LETTERS_CHANNEL,
        title="Dead letters",
        description="Task messages that failed for good or were never valid, as they were sent, with the reason.",
        operation="watchDeadLetters",
        summary="Hear of what could not be done",
        tag=OPERATE,
    ),
    Channel(
        name="replayRequests",
        address=subjects.REPLAY,
        title="Replay dead letters",
        description="Core NATS request and reply. Tasks that ended as `failed` are queued again from their start, "
        "under their own id; what was no valid task, or truncated, stays where it is.",
        operation="replayDeadLetters",
        summary="Try again what could not be done",
        tag=OPERATE,
    ),
    Channel(
        name="letterDeletionRequests",
        address=subjects.DELETE_LETTERS,
        title="Delete dead letters",
        description="Core NATS request and reply. The letters are gone after it, with or without a task id; whatever "
        "else is kept of their tasks stays. Where there are many, the answer says where to go on.",
        operation="deleteDeadLetters",
        summary="Remove what will not be tried again",
        tag=OPERATE,
    ),
    *(_accepted(kind) for kind in Kind),
    Channel(
        name="offeredWindows",
        address=subjects.WINDOWS_OFFERED,
        title="Offered windows",
        description="A worker has more windows of a long recording than it can hear at once. Who is idle and has the "
        "model volunteers in the owner's inbox, `windows.inbox.{owner}`, and is sent windows in its own (core NATS, "
        "not kept). What is lost on the way costs its own windows only: the owner hears them itself.",
        operation="offerWindows",
        summary="Ask idle workers for help with a long recording",
        tag=INSIDE,
    ),
)
