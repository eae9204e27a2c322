"""Estimates: how many tasks of each queue are served before a waiting task, and when a worker is free for it."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from natscribe.schemas.wire import Lane, Priority

from app.queue.priorities import PATIENCE, QueueKey

_RECORDINGS = (Lane.TRANSCRIPTION, Lane.DIARIZATION)  # the queues whose tasks one worker does one after the other


def served_before(waiting: Mapping[QueueKey, int], queue: Lane, priority: Priority, turn: int) -> dict[QueueKey, int]:
    """Estimate how many tasks of each queue are served before the `turn`-th task of one queue.

    Each worker alternates between transcription and diarization. The estimate assumes that transcription is next
    everywhere, so that no two tasks have equally many before them. Live tasks wait only for live tasks.
    """
    if queue is Lane.LIVE:
        urgent = [(queue, each) for each in Priority if each.precedes(priority)]
        live: dict[QueueKey, int] = {each: waiting[each] for each in urgent}
        return live | {(queue, priority): turn - 1}
    by_priority = {each: sum(waiting[other, each] for other in _RECORDINGS) for each in Priority}
    of_other_kind = min(by_priority[priority] - waiting[queue, priority], turn - (queue is Lane.TRANSCRIPTION))
    number = turn + of_other_kind
    before = _more_urgent(by_priority, priority, at_most=PATIENCE.get(priority, 0) * number)
    number += sum(before.values())
    for lower, patience in PATIENCE.items():
        if priority.precedes(lower):
            before[lower] = min(by_priority[lower], number // patience)
            number += before[lower]
    found = {(each, priority): of_other_kind for each in _RECORDINGS} | {(queue, priority): turn - 1}
    for other, count in before.items():
        found |= _in_turns(waiting, other, count)
    return found


def seconds_until_free(busy: Iterable[float], work: float) -> float:
    """Estimate in how many seconds a worker is free, if `work` seconds of work are done before.

    `busy` has for each worker the seconds until its running task ends. From then on the worker takes part in the work,
    which is divided so that all who take part end at the same time.
    """
    totals = accumulate(sorted(max(seconds, 0.0) for seconds in busy))
    return min(((work + total) / workers for workers, total in enumerate(totals, start=1)), default=work)


def _more_urgent(by_priority: Mapping[Priority, int], priority: Priority, *, at_most: int) -> dict[Priority, int]:
    """Divide up to `at_most` tasks among the more urgent priorities; each leaves a share to the next higher one."""
    urgent = [each for each in Priority if each.precedes(priority)]
    left = min(sum(by_priority[each] for each in urgent), at_most)
    found: dict[Priority, int] = {}
    for each in reversed(urgent):
        of_others = sum(by_priority[other] for other in urgent if other.precedes(each))
        share = max(left // (PATIENCE.get(each, 0) + 1), left - of_others)
        found[each] = min(by_priority[each], share)
        left -= found[each]
    return found


def _in_turns(waiting: Mapping[QueueKey, int], priority: Priority, count: int) -> dict[QueueKey, int]:
    """Divide the first `count` tasks of a priority between transcription and diarization, which alternate."""
    transcription, diarization = (Lane.TRANSCRIPTION, priority), (Lane.DIARIZATION, priority)
    first = min(waiting[transcription], max(count - count // 2, count - waiting[diarization]))
    return {transcription: first, diarization: count - first}
