"""Estimates of a waiting task's start: how many tasks of each queue precede it, and when a worker is free for it."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from natscribe.schemas.wire import Lane, Priority

from app.queue.priorities import PATIENCE, QueueKey

_RECORDINGS = (Lane.TRANSCRIPTION, Lane.DIARIZATION)  # a worker alternates between these lanes


def served_before(waiting: Mapping[QueueKey, int], key: QueueKey, turn: int) -> dict[QueueKey, int]:
    """Estimate, for each queue, how many of its tasks start before the `turn`-th task (from 1) of the queue `key`.

    `waiting`: the number of waiting tasks of each queue. Each worker alternates between transcription and diarization.
    The estimate assumes that transcription is next on all workers, so that no two tasks have the same number of tasks
    before them. Live tasks wait only for live tasks.
    """
    lane, priority = key
    if lane is Lane.LIVE:
        more_urgent = ((lane, other) for other in Priority if other.precedes(priority))
        return {queue: waiting[queue] for queue in more_urgent} | {key: turn - 1}
    by_priority = {each: sum(waiting[recording, each] for recording in _RECORDINGS) for each in Priority}
    of_other_lane = min(by_priority[priority] - waiting[key], turn - (lane is Lane.TRANSCRIPTION))
    number = turn + of_other_lane
    before = _more_urgent(by_priority, priority, at_most=PATIENCE.get(priority, 0) * number)
    number += sum(before.values())
    for lower, patience in PATIENCE.items():
        if priority.precedes(lower):
            before[lower] = min(by_priority[lower], number // patience)
            number += before[lower]
    counts = {(recording, priority): of_other_lane for recording in _RECORDINGS} | {key: turn - 1}
    for other, count in before.items():
        counts |= _divide(waiting, other, count)
    return counts


def seconds_until_free(busy: Iterable[float], work: float) -> float:
    """Estimate in how many seconds the workers together have done `work` more seconds of work.

    `busy`: for each worker, the seconds until its running task ends; then it takes a share of the work. The work is
    divided so that all workers that take a share end together.
    """
    totals = accumulate(sorted(max(seconds, 0.0) for seconds in busy))
    return min(((work + total) / workers for workers, total in enumerate(totals, start=1)), default=work)


def _more_urgent(by_priority: Mapping[Priority, int], priority: Priority, *, at_most: int) -> dict[Priority, int]:
    """Estimate how many tasks of each more urgent priority start before a task, `at_most` in total.

    Each priority leaves a share of them to the next higher priority, as `PriorityOrder` does.
    """
    urgent = [other for other in Priority if other.precedes(priority)]
    left = min(sum(by_priority[other] for other in urgent), at_most)
    counts: dict[Priority, int] = {}
    for current in reversed(urgent):
        of_higher = sum(by_priority[other] for other in urgent if other.precedes(current))
        share = max(left // (PATIENCE.get(current, 0) + 1), left - of_higher)
        counts[current] = min(by_priority[current], share)
        left -= counts[current]
    return counts


def _divide(waiting: Mapping[QueueKey, int], priority: Priority, count: int) -> dict[QueueKey, int]:
    """Divide `count` tasks of a priority between transcription and diarization, which workers start in turn."""
    transcription, diarization = (Lane.TRANSCRIPTION, priority), (Lane.DIARIZATION, priority)
    first = min(waiting[transcription], max(count - count // 2, count - waiting[diarization]))
    return {transcription: first, diarization: count - first}
