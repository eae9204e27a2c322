"""The verdict of a chaos test: how its tasks have ended, and which faults explain their retries."""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import combinations, pairwise
from pathlib import Path

from natscribe.client import Client
from natscribe.client.errors import ClientError
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import Kind

from tests.chaos.faults import Fault

AFTER_A_SERVER_S = 10.0  # for a worker to detect the loss of its server and to reconnect
READ_S = 2.0  # more than it takes to read the log of a task that has ended
AT_ONCE_S = 2.0  # two workers that start tasks at the same time may report this in either order
REDELIVERED_WITHIN_S = 20.0  # of a grant whose worker was lost before it could report the start
NOTHING = "nothing"


@dataclass(frozen=True)
class Verdict:
    """The tasks of a chaos test with their durations, logs and results."""

    published: dict[str, float]
    in_order: list[list[str]]  # the tasks about recordings of each publisher, in the order of their publication
    faults: list[Fault]
    logs: dict[str, list[ProgressEvent]]
    sequences: dict[str, int]  # of the task messages
    granted: list[int]  # these sequences, in the order of the grants that were observed
    results: Counter[str]
    unreadable: dict[str, str]
    live: int  # number of live tasks
    misheard: dict[str, str]  # live tasks with lost or repeated text

    def wrong_ends(self) -> dict[str, list[State]]:
        ends = {
            task_id: [event.state for event in events if event.state.ended] for task_id, events in self.logs.items()
        }
        return {task_id: end for task_id, end in ends.items() if end != [State.COMPLETED]}

    def holes(self) -> dict[str, list[int]]:
        """Return the event numbers of each log that lacks an event."""
        numbers = {task_id: [event.sequence for event in events] for task_id, events in self.logs.items()}
        return {task_id: log for task_id, log in numbers.items() if log != list(range(1, len(log) + 1))}

    def starts(self) -> dict[str, float]:
        """Return for each scheduled task how many seconds after its time it has started."""
        starts = {}
        for task_id, events in self.logs.items():
            times = [event.not_before for event in events if event.not_before is not None]
            running = [event.time for event in events if event.state is State.RUNNING]
            if times and running:
                starts[task_id] = (running[0] - times[0]).total_seconds()
        return starts

    def overtaken(self) -> dict[str, str]:
        """Return each task that a later one of its user, kind and priority has overtaken, without a fault as reason."""
        return {
            earlier: later
            for queue in self._queues()
            for earlier, later in combinations(queue, 2)
            if self._start(earlier) > self._start(later) + timedelta(seconds=AT_ONCE_S)
            and self._is_quiet(self._start(later), self._start(earlier))
        }

    def granted_late(self) -> dict[str, str]:
        """Return each task that was granted after a later one of its user, kind and priority, whatever the faults."""
        return {earlier: later for earlier, later, is_in_order in self._granted_neighbours() if not is_in_order}

    def _granted_neighbours(self) -> Iterator[tuple[str, str, bool]]:
        """Yield each two tasks that follow each other in a queue, and whether they were granted in this order."""
        places = {sequence: place for place, sequence in enumerate(self.granted)}
        for queue in self._queues():
            observed = [task_id for task_id in queue if self.sequences[task_id] in places]
            for earlier, later in pairwise(sorted(observed, key=self.sequences.__getitem__)):
                yield earlier, later, places[self.sequences[earlier]] < places[self.sequences[later]]

    def _neighbours(self) -> Iterator[bool]:
        """Yield for each two tasks that follow each other in a queue whether no fault hides which one started first."""
        for queue in self._queues():
            for pair in pairwise(queue):
                first, last = sorted(map(self._start, pair))
                yield self._is_quiet(first, last)

    def _queues(self) -> Iterator[list[str]]:
        """Yield the tasks of one publisher with the same user and kind that were started and not scheduled."""
        for tasks in self.in_order:
            queues = defaultdict[tuple[object, ...], list[str]](list)
            for task_id in tasks:
                events = self.logs[task_id]
                if self._runs(task_id) and all(event.not_before is None for event in events):
                    queues[events[0].user_id, events[0].kind, events[0].priority].append(task_id)
            yield from queues.values()

    def _runs(self, task_id: str) -> list[ProgressEvent]:
        return [event for event in self.logs[task_id] if event.state is State.RUNNING]

    def _start(self, task_id: str) -> datetime:
        return self._runs(task_id)[0].time

    def _is_quiet(self, first: datetime, last: datetime) -> bool:
        """Return whether no fault explains that a task was started at `last` instead of `first`."""
        return not any(fault.overlaps(first, last, later_s=REDELIVERED_WITHIN_S) for fault in self.faults)

    def recoveries(self) -> list[tuple[str, float]]:
        """Return changes of workers: the task, and the seconds from the last event of one to the first of the next."""
        return [
            (task_id, _seconds(before, after))
            for task_id, events in self.logs.items()
            for before, after in pairwise(events)
            if before.state is State.RUNNING and after.state is State.RUNNING and before.worker != after.worker
        ]

    def silences(self) -> list[float]:
        """Return the seconds between two events of one worker on one task, except during faults of the worker."""
        return [
            _seconds(before, after)
            for events in self.logs.values()
            for before, after in pairwise(events)
            if before.state is State.RUNNING and before.worker == after.worker and not self._failed(before, after.time)
        ]

    def further_attempts(self) -> Iterator[tuple[str, str]]:
        """Yield the task of each attempt above 1 with its cause: a fault of its worker, of a server, or nothing."""
        for task_id, events in self.logs.items():
            for before, after in pairwise(events):
                if after.attempt > before.attempt:
                    yield task_id, self._reason(before, after)

    def write(self, file: Path) -> None:
        """Write the faults and all events in the order of their time, for the analysis of failures."""
        lines = [(fault.start, json.dumps(asdict(fault), default=str)) for fault in self.faults]
        lines += [(event.time, event.model_dump_json()) for events in self.logs.values() for event in events]
        file.write_text("".join(f"{line}\n" for _, line in sorted(lines)), encoding="utf-8")

    def report(self) -> str:
        """Return the verdict as text."""
        lines = {**self._ends(), **self._recovery(), **self._attempts()}
        return "\n".join(f"{name:<19} {value}" for name, value in lines.items())

    def _ends(self) -> dict[str, object]:
        kinds = Counter(events[0].kind for events in self.logs.values() if events)
        faults = Counter(fault.what for fault in self.faults)
        failures = sum(event.state is State.FAILED for event in self._events())
        return {
            "tasks published": f"{len(self.published)} ({kinds[Kind.TRANSCRIPTION]} transcriptions, {self.live} live)",
            "faults": ", ".join(f"{what} {count}" for what, count in sorted(faults.items())),
            "results": f"{self.results.total()}, failures {failures}",
            "lost": len(self.published.keys() - self.results.keys()),
            "doubled": sum(count > 1 for count in self.results.values()),
            "wrong ends": len(self.wrong_ends()),
            "overtaken": f"{len(self.overtaken())}, {sum(self._neighbours())} pairs without faults",
            "granted late": f"{len(self.granted_late())}, {len(list(self._granted_neighbours()))} pairs",
            "scheduled": f"{len(self.starts())}, {sum(start < 0 for start in self.starts().values())} early",
            "results unreadable": len(self.unreadable),
            "live tasks misheard": len(self.misheard),
        }

    def _recovery(self) -> dict[str, object]:
        recoveries, silences = self.recoveries(), self.silences()
        slowest = max((seconds for _, seconds in recoveries), default=0)
        return {
            "audio done twice": f"{sum(self.published[task_id] for task_id, _ in recoveries):.0f} s at most",
            "slowest recovery": f"{slowest:.1f} s of {len(recoveries)}",
            "longest silence": f"{max(silences, default=0):.1f} s, of workers without faults",
        }

    def _attempts(self) -> dict[str, object]:
        further = list(self.further_attempts())
        return {
            "attempts above 1": f"{len(further)}, explained by {dict(Counter(reason for _, reason in further))}",
            "unexplained": " ".join(task_id for task_id, reason in further if reason == NOTHING) or "none",
            "errors": dict(Counter(event.error.message for event in self._events() if event.error is not None)),
        }

    def _events(self) -> Iterator[ProgressEvent]:
        return (event for log in self.logs.values() for event in log)

    def _reason(self, before: ProgressEvent, after: ProgressEvent) -> str:
        if self._failed(before, after.time):
            return "worker"
        servers = [fault for fault in self.faults if fault.what.startswith("server")]
        if any(fault.overlaps(before.time, after.time, later_s=AFTER_A_SERVER_S) for fault in servers):
            return "server"
        return NOTHING

    def _failed(self, running: ProgressEvent, until: datetime) -> bool:
        """Return whether there was a fault of the worker of this event up to a time."""
        pid = str(running.worker).split("-")[-2:-1]
        return any([fault.target] == pid and fault.overlaps(running.time, until) for fault in self.faults)


def _seconds(before: ProgressEvent, after: ProgressEvent) -> float:
    return (after.time - before.time).total_seconds()


async def unreadable_results(client: Client, tasks: Iterable[str]) -> dict[str, str]:
    """Return the error of each task whose result cannot be read."""
    errors = {}
    for task_id in tasks:
        try:
            await client.get_task_result(task_id)
        except ClientError as error:
            errors[task_id] = str(error)
    return errors


async def logs_of(client: Client, tasks: Iterable[str], *, within: float) -> dict[str, list[ProgressEvent]]:
    """Return the events of each task up to its end; after `within` seconds also of tasks that have not ended."""
    logs: dict[str, list[ProgressEvent]] = {task_id: [] for task_id in tasks}
    end = time.monotonic() + within
    for task_id, events in logs.items():
        with suppress(TimeoutError):
            async with asyncio.timeout(max(end - time.monotonic(), READ_S)):
                async for event in client.follow(task_id):
                    if isinstance(event, ProgressEvent):
                        events.append(event)
    return logs
