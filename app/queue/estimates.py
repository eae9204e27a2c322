"""Estimates of a waiting task's start: how many tasks of each queue precede it, and when a worker is free for it."""

from collections.abc import Iterable, Mapping
from itertools import accumulate

from natscribe.schemas.wire import Lane, Priority

from app.queue.priorities import PATIENCE, QueueKey

_RECORDINGS = (Lane.TRANSCRIPTION, Lane.DIARIZATION)  # a worker alternates between these lanes


def served_before(waiting: Mapping[QueueKey, int], key: QueueKey, turn: int) -> dict[QueueKey, int]:
    """Estimate, for each queue, how many of its tasks start before a certain waiting task.

    That task is the `turn`-th task (from 1) of the queue `key`. `waiting`: the number of waiting tasks of each queue.
    Each worker alternates between transcription and diarization. The estimate assumes that transcription is next on all
    workers, so that no two tasks have the same number of tasks before them. Live tasks wait only for live tasks.
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
    """Estimate after how many seconds the workers have completed the work that precedes a task, so that one is free.

    `work`: how many seconds one worker would need for the preceding tasks. `busy`: for each worker, the seconds until
    its running task ends; then it does a share of `work`. The shares are such that all workers that get one end
    together.
    """
    totals = accumulate(sorted(max(seconds, 0.0) for seconds in busy))
    return min(((work + total) / workers for workers, total in enumerate(totals, start=1)), default=work)


def _more_urgent(by_priority: Mapping[Priority, int], priority: Priority, *, at_most: int) -> dict[Priority, int]:
    """Estimate how many tasks of each priority above `priority` start before a task of `priority`.

    `by_priority`: the number of waiting tasks of each priority. `at_most`: the maximum of the total. Of these tasks,
    each priority gets the share that it has in `PriorityOrder`, and higher priorities get the rest.
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
    """Divide the first `count` tasks of a priority between transcription and diarization.

    Workers start these alternately. `waiting`: the number of waiting tasks of each queue.
    """
    transcription, diarization = (Lane.TRANSCRIPTION, priority), (Lane.DIARIZATION, priority)
    first = min(waiting[transcription], max(count - count // 2, count - waiting[diarization]))
    return {transcription: first, diarization: count - first}
