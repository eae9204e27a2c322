"""How a delivery is settled: a pure decision from how its attempt ended and what the log of its task says."""

from collections.abc import Collection
from enum import StrEnum, auto
from typing import Final, NamedTuple


class Ending(StrEnum):
    """How the attempt of a delivery ended, or why it did not begin."""

    COMPLETED = auto()  # the result is stored, and `completed` is appended
    STOPPED = auto()  # the worker stops
    TRANSIENT = auto()  # it failed, and a retry can help
    PERMANENT = auto()  # it failed, and a retry cannot help
    INVALID = auto()  # the message is no valid task
    OBSOLETE = auto()  # the task has ended, or its id belongs to another message
    STALE = auto()  # the task message may be gone, or segments have another writer: the next delivery reads them again
    UNREADABLE = auto()  # a later version of the service has written the log
    FENCED = auto()  # another writer has appended to the log


class LogState(StrEnum):
    """What the log of the task says when the delivery is settled."""

    UNREAD = auto()  # nothing: no attempt has begun, and the log is not needed
    UNSURE = auto()  # nobody knows whether JetStream has delivered the task again, or stored the last append
    WAITING = auto()  # the last event is `queued` or `retrying`
    RUNNING = auto()  # the last event is the `running` of this attempt
    TAKEN = auto()  # the last event is that of another worker, or of another message
    ENDED = auto()  # the task has ended
    OUTCOME = auto()  # the outcome of the task is stored, but the event that ends the task is missing
    CANCELLED = auto()  # another writer has cancelled the task
    DELETED = auto()  # the log is empty, and the task message is gone
    EMPTY = auto()  # the log is empty, but the task stream holds the task message
    LATER_VERSION = auto()  # a later version of the service, for which the message is valid, has registered the task


class Append(StrEnum):
    """What is appended to the log of the task; a failure is preceded by `running` if the task still waits."""

    QUEUED = auto()
    RETRYING = auto()
    FAILED = auto()
    OUTCOME = auto()  # the event that ends the task as its stored outcome says


class Settle(StrEnum):
    """What happens to the grant, and to the task message that it names."""

    END = auto()  # delete the task message, and acknowledge the grant
    ACKNOWLEDGE = auto()  # acknowledge the grant: the task message is gone, or another writer deletes it
    RETURN = auto()  # return the grant: another worker gets it at once
    RETRY = auto()  # return the grant after the delay of a retry
    RESTORE = auto()  # return the grant when the stream guard has had time to restore a changed stream
    LEAVE = auto()  # nothing: another worker has the grant, or JetStream delivers it again after its `ack_wait`


class Decision(NamedTuple):
    """What settles a delivery, in the order in which it is done.

    `dead_letter`: store the task message as a dead letter, because nobody can be told what is wrong with it.
    `clean_up`: delete what the attempt has stored outside the log, unless it belongs to the outcome of the task.
    """

    append: Append | None
    settle: Settle
    dead_letter: bool = False
    clean_up: bool = False


Row = tuple[Collection[Ending], Collection[LogState], Decision]

STOPS = (Ending.STOPPED, Ending.STALE)
FAILURES = (Ending.TRANSIENT, Ending.PERMANENT)
ANY = tuple(LogState)

# The first row with the ending and the state of the log applies.
TABLE: Final[tuple[Row, ...]] = (
    ((Ending.COMPLETED, Ending.OBSOLETE), ANY, Decision(None, Settle.END)),
    ((Ending.STOPPED,), (LogState.UNSURE,), Decision(None, Settle.LEAVE)),
    (STOPS, (LogState.RUNNING,), Decision(Append.QUEUED, Settle.RETURN)),
    (STOPS, ANY, Decision(None, Settle.RETURN)),
    ((Ending.FENCED,), (LogState.EMPTY,), Decision(None, Settle.RESTORE)),
    ((Ending.FENCED,), (LogState.DELETED, LogState.CANCELLED), Decision(None, Settle.ACKNOWLEDGE, clean_up=True)),
    ((Ending.FENCED,), ANY, Decision(None, Settle.LEAVE, clean_up=True)),
    ((Ending.UNREADABLE,), (LogState.RUNNING,), Decision(None, Settle.LEAVE)),
    ((Ending.UNREADABLE,), ANY, Decision(None, Settle.RETRY)),
    ((Ending.INVALID,), (LogState.EMPTY,), Decision(Append.FAILED, Settle.END)),
    ((Ending.INVALID,), (LogState.ENDED,), Decision(None, Settle.END)),
    ((Ending.INVALID,), (LogState.TAKEN,), Decision(None, Settle.END, dead_letter=True)),
    ((Ending.INVALID,), ANY, Decision(None, Settle.RETRY)),
    (FAILURES, (LogState.UNREAD,), Decision(None, Settle.RETRY)),
    (FAILURES, (LogState.ENDED,), Decision(None, Settle.END)),
    (FAILURES, (LogState.OUTCOME,), Decision(Append.OUTCOME, Settle.END)),
    ((Ending.TRANSIENT,), (LogState.TAKEN,), Decision(None, Settle.RETRY)),  # the other worker may be alive
    ((Ending.TRANSIENT,), ANY, Decision(Append.RETRYING, Settle.RETRY)),
    ((Ending.PERMANENT,), ANY, Decision(Append.FAILED, Settle.END)),
)


def decide(ending: Ending, log: LogState, *, has_attempts_left: bool) -> Decision:
    """Return how a delivery is settled; without attempts left, a failure is permanent."""
    if ending is Ending.TRANSIENT and not has_attempts_left and log is not LogState.TAKEN:
        ending = Ending.PERMANENT
    return next(decision for endings, states, decision in TABLE if ending in endings and log in states)
