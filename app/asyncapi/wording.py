"""The channels of the AsyncAPI document: their names and descriptions."""

from dataclasses import dataclass
from typing import Final

from natscribe.schemas import subjects
from natscribe.schemas.kinds import TASKS
from natscribe.schemas.wire import Input, Lane

SUBMIT, FOLLOW, ASK, NAME, OPERATE, INSIDE = "submit", "follow", "ask", "name", "operate", "inside"

TAGS: Final = {
    SUBMIT: "Publish tasks.",
    FOLLOW: "Follow tasks and read their results.",
    ASK: "Ask about tasks, cancel or delete them.",
    NAME: "Say who people are, and forget it.",
    OPERATE: "For operators.",
    INSIDE: "Between workers: not for clients.",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of the AsyncAPI document, and its one operation."""

    name: str
    address: str
    title: str
    description: str
    operation: str
    summary: str
    tag: str
    only: type[Input] | None = None  # the payload that is published here, where the handler takes others, too


def _task_queue(queue: Lane, summary: str) -> Channel:
    return Channel(
        name=f"{queue}Tasks",
        address=subjects.tasks_channel(queue),
        title=f"{queue.capitalize()} tasks",
        description=f"The queues of {queue} tasks, one for each priority. Publish with JetStream and wait for its "
        "acknowledgement: only a task that is acknowledged is stored. A full queue refuses the task with an error "
        "(err_code 10077); a misspelt priority is an error too (no responders). A message that is no valid task "
        "becomes a dead letter; if the message has a task id that is not known yet, the task of this id is `failed`.",
        operation=f"submit{queue.capitalize()}",
        summary=summary,
        tag=SUBMIT,
    )


def _accepted(queue: Lane) -> Channel:
    return Channel(
        name=f"accepted{queue.capitalize()}Tasks",
        address=subjects.accepted_channel(queue),
        title=f"Accepted {queue} tasks",
        description="Stored tasks, republished by the task stream for the workers (core NATS, not kept).",
        operation=f"accept{queue.capitalize()}",
        summary=f"Wake the workers for a {queue} task, and register it",
        tag=INSIDE,
        only=TASKS[queue],
    )


CHANNELS: Final = (
    _task_queue(Lane.TRANSCRIPTION, "Ask for the transcription of a recording"),
    _task_queue(Lane.DIARIZATION, "Ask for the diarization of a recording"),
    _task_queue(Lane.LIVE, "Ask for the text of sound that is published while people speak"),
    Channel(
        name="liveAudio",
        address=subjects.LIVE_AUDIO_CHANNEL,
        title="Sound of a live task",
        description="One message for each frame, 20 ms to 1 s of sound, before or after the task itself. Publish with "
        "JetStream, let at most 8 frames wait for their acknowledgement, and publish a frame without one again under "
        "its own number. A number that is never stored is a gap: in `opus` the task fails, else the gap is silence "
        "and listed in `untranscribed`. A full stream refuses frames with an error (err_code 10077): publish them "
        "again later. After the last frame, or without a frame for `idle_seconds`, the service reads no more.",
        operation="publishFrame",
        summary="Publish the sound of a live task",
        tag=SUBMIT,
    ),
    Channel(
        name="progress",
        address=subjects.PROGRESS_CHANNEL,
        title="Progress of a task",
        description="All events of one task, in order: `sequence` counts from 1 without gaps. Subscribe before or "
        "after you publish the task: an ordered consumer of the stream (deliver policy `all`) starts with the first "
        "event. `completed`, `failed` and `cancelled` are final. A running task has an event at least every 10 s and "
        "at most once a second.",
        operation="followProgress",
        summary="Follow a task until it ends",
        tag=FOLLOW,
    ),
    Channel(
        name="segments",
        address=subjects.SEGMENTS_CHANNEL,
        title="Segments of a transcription",
        description="The text as it is found, while the task runs: each event has the text since the previous event. "
        "These segments have no speakers, unless each channel counts as one speaker (`channel` is not null); then the "
        "channels of a recording are transcribed one after the other, each from its start; those of a live task at the "
        "same time. After a lost worker the next worker "
        "continues where the last event ends, so no text is repeated. Only transcriptions have segments.",
        operation="followSegments",
        summary="Read the text while it is found",
        tag=FOLLOW,
    ),
    Channel(
        name="partials",
        address=subjects.PARTIALS_CHANNEL,
        title="What is being said in a live task",
        description="The text so far of an utterance that goes on (core NATS, not kept): about once a second, less "
        "often on a busy machine. Each partial replaces the one before it with the same `channel` and `start`. The "
        "words in `stable` are never taken back by a later partial of the utterance. The segments of the utterance, on "
        "`segments.{task_id}`, replace its partials, and may still differ from them.",
        operation="followPartials",
        summary="Read what is being said at this moment",
        tag=FOLLOW,
    ),
    Channel(
        name="results",
        address=subjects.RESULTS_CHANNEL,
        title="Result of a task",
        description="One message for each task, stored just before `completed`. If `object` is not null, the whole "
        "result is in the bucket for results under the task id: fetch the result there.",
        operation="receiveResult",
        summary="Read the result",
        tag=FOLLOW,
    ),
    Channel(
        name="statusRequests",
        address=subjects.STATUS,
        title="Status of a task",
        description="Core NATS request and reply.",
        operation="askStatus",
        summary="Ask for the status of a task",
        tag=ASK,
    ),
    Channel(
        name="resultRequests",
        address=subjects.RESULT,
        title="The result in a format",
        description="Core NATS request and reply. The header `content-type` of the reply tells what the reply is: "
        "`text/plain` is the requested text, `text/html` the requested page, `application/json` is the result, or "
        "`{error: ...}`, or, if text or page is too large for a message, the result with `object`. The reply for a "
        "failed task is the error of the task.",
        operation="askResult",
        summary="Ask for the result, as JSON, text, subtitles or a page",
        tag=ASK,
    ),
    Channel(
        name="listRequests",
        address=subjects.LIST,
        title="List of tasks",
        description="Core NATS request and reply. The reply has the newest tasks, as Redis knows them: up to a second "
        "late, after the loss of a worker up to `TASK_ACK_WAIT`. `more_before` says where to continue; tasks that are "
        "added meanwhile neither repeat nor hide others. "
        "Anybody who may ask sees the tasks of all users: `user_id` is a filter and gives no right.",
        operation="listTasks",
        summary="List tasks of a user, or in a state, the newest first",
        tag=ASK,
    ),
    Channel(
        name="queueRequests",
        address=subjects.QUEUE,
        title="State of the task queues",
        description="Core NATS request and reply. The request is an object without fields, `{}`. The reply has the "
        "nine task queues, from high to low priority, and the number of dead letters.",
        operation="askQueue",
        summary="Ask how many tasks wait and run",
        tag=ASK,
    ),
    Channel(
        name="workerRequests",
        address=subjects.WORKERS,
        title="Workers",
        description="Core NATS request and reply. The request is an object without fields, `{}`. Each worker replies: "
        "subscribe to an inbox, publish the request with that inbox as its reply subject, and gather replies for two "
        "seconds.",
        operation="askWorkers",
        summary="Ask each worker for its version, its model and its health",
        tag=ASK,
    ),
    Channel(
        name="cancelRequests",
        address=subjects.CANCEL,
        title="Cancel a task",
        description="Core NATS request and reply. The reply is the new status; a task that has ended stays unchanged.",
        operation="cancelTask",
        summary="Cancel a task that waits or runs",
        tag=ASK,
    ),
    Channel(
        name="deleteRequests",
        address=subjects.DELETE,
        title="Delete a task, or all tasks of a user",
        description="Core NATS request and reply. The service deletes events, result, dead letters and the recording "
        "in its bucket; a task that has not ended is cancelled first. If a user has many tasks, the reply says where "
        "to continue. JetStream remembers `Nats-Msg-Id` a little longer: see the deduplication window of the task "
        "stream.",
        operation="deleteTask",
        summary="Delete everything of a task or of a user",
        tag=ASK,
    ),
    Channel(
        name="enrollRequests",
        address=subjects.ENROLL,
        title="Enrol a voice",
        description="Core NATS request and reply. The speaker of a completed task with `identify: true` gets a name: a "
        "new voice, or one more reference of a known one. The speaker has to say 15 s alone. Embeddings are kept as "
        "long as the result. A voice is no proof of identity.",
        operation="enrollVoice",
        summary="Say who a speaker is",
        tag=NAME,
    ),
    Channel(
        name="voicesRequests",
        address=subjects.VOICES,
        title="Voices of a user",
        description="Core NATS request and reply. Embeddings are not among it. `user_id` gives no right.",
        operation="listVoices",
        summary="List the voices of a user",
        tag=NAME,
    ),
    Channel(
        name="renameRequests",
        address=subjects.RENAME,
        title="Rename a voice",
        description="Core NATS request and reply. Results that name the voice show the new name at once: names are "
        "looked up when a result is read.",
        operation="renameVoice",
        summary="Give a voice another name",
        tag=NAME,
    ),
    Channel(
        name="forgetRequests",
        address=subjects.FORGET,
        title="Forget a voice",
        description="Core NATS request and reply. The service removes name, consent and references, the embeddings of "
        "the tasks in which the voice was enrolled, and what the cache has of their recordings. Results keep the id, "
        "which nothing explains any more: the speaker is `unknown`. To forget all voices of a user, delete the user.",
        operation="forgetVoice",
        summary="Forget a voice",
        tag=NAME,
    ),
    Channel(
        name="forgottenVoices",
        address=subjects.FORGOTTEN_CHANNEL,
        title="A voice was forgotten",
        description="Core NATS, not kept. Whoever has kept the name of the voice elsewhere has to forget it, too.",
        operation="followForgotten",
        summary="Hear which voices were forgotten",
        tag=NAME,
    ),
    Channel(
        name="deadLetters",
        address=subjects.DEAD_LETTERS_CHANNEL,
        title="Dead letters",
        description="Task messages that failed for good or were never valid, as they were sent, with the reason.",
        operation="watchDeadLetters",
        summary="Receive dead letters",
        tag=OPERATE,
    ),
    Channel(
        name="replayRequests",
        address=subjects.REPLAY,
        title="Replay dead letters",
        description="Core NATS request and reply. Tasks that ended as `failed` are queued again from their start, "
        "under their own id; dead letters of invalid or truncated tasks stay.",
        operation="replayDeadLetters",
        summary="Queue failed tasks again",
        tag=OPERATE,
    ),
    Channel(
        name="letterDeletionRequests",
        address=subjects.DELETE_LETTERS,
        title="Delete dead letters",
        description="Core NATS request and reply. The service deletes dead letters, with or without a task id, and "
        "nothing else of their tasks. If there are many dead letters, the reply says where to continue.",
        operation="deleteDeadLetters",
        summary="Delete dead letters",
        tag=OPERATE,
    ),
    *(_accepted(queue) for queue in Lane),
    Channel(
        name="windowRequests",
        address=subjects.WINDOWS_CHANNEL,
        title="Windows of long recordings",
        description="Core NATS request and reply between workers. The owner of a task asks for the text of one window; "
        "one idle worker with the same engine replies. Workers that are not idle do not subscribe. If nobody replies, "
        "the owner transcribes the window.",
        operation="transcribeWindow",
        summary="Ask an idle worker for help with a long recording",
        tag=INSIDE,
    ),
)
