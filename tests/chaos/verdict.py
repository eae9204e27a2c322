"""What became of the tasks of a chaos test, and what the blows explain."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from natscribe.client import Client
from natscribe.client.errors import ClientError
from natscribe.schemas.progress import ProgressEvent, State
from natscribe.schemas.wire import Kind

from tests.chaos.blows import Blow

AFTER_A_SERVER_S = 10.0  # a worker notices within this time that its server is away, and is connected again
READ_S = 2.0  # more than it takes to read the log of a task that has ended
NOTHING = "nothing"


@dataclass(frozen=True)
class Verdict:
    """The tasks with their seconds of audio, their logs, the results that are stored, and those that cannot be read."""

    published: dict[str, float]
    blows: list[Blow]
    logs: dict[str, list[ProgressEvent]]
    results: Counter[str]
    unreadable: dict[str, str]
    live: int  # of the tasks, how many are live
    misheard: dict[str, str]  # live tasks of whose sound something is lost or doubled

    def wrong_ends(self) -> dict[str, list[State]]:
        ends = {
            task_id: [event.state for event in events if event.state.ended] for task_id, events in self.logs.items()
        }
        return {task_id: end for task_id, end in ends.items() if end != [State.COMPLETED]}

    def holes(self) -> dict[str, list[int]]:
        """The numbers of events, of each log that lacks one."""
        numbers = {task_id: [event.sequence for event in events] for task_id, events in self.logs.items()}
        return {task_id: found for task_id, found in numbers.items() if found != list(range(1, len(found) + 1))}

    def recoveries(self) -> list[tuple[str, float]]:
        """The task and the seconds from the last word of each lost worker to the first of the next one."""
        return [
            (task_id, _seconds(before, after))
            for task_id, events in self.logs.items()
            for before, after in pairwise(events)
            if before.state is State.RUNNING and after.state is State.RUNNING and before.worker != after.worker
        ]

    def silences(self) -> list[float]:
        """The seconds between two events of one worker about one task, where nobody has frozen that worker."""
        return [
            _seconds(before, after)
            for events in self.logs.values()
            for before, after in pairwise(events)
            if before.state is State.RUNNING and before.worker == after.worker and not self._hurt(before, after.time)
        ]

    def further_attempts(self) -> Iterator[tuple[str, str]]:
        """The task of each attempt above 1, and what explains it: a blow to its worker, to a server, or nothing."""
        for task_id, events in self.logs.items():
            for before, after in pairwise(events):
                if after.attempt > before.attempt:
                    yield task_id, self._reason(before, after)

    def write(self, file: Path) -> None:
        """Write the blows and all events in the order of their time, for whoever looks for a cause."""
        lines = [(blow.began, json.dumps(asdict(blow), default=str)) for blow in self.blows]
        lines += [(event.time, event.model_dump_json()) for events in self.logs.values() for event in events]
        file.write_text("".join(f"{line}\n" for _, line in sorted(lines)), encoding="utf-8")

    def report(self) -> str:
        """What happened, for people to see."""
        kinds = Counter(events[0].kind for events in self.logs.values() if events)
        events = [event for log in self.logs.values() for event in log]
        blows = Counter(blow.what for blow in self.blows)
        recoveries = self.recoveries()
        gaps, silences = [seconds for _, seconds in recoveries], self.silences()
        further = list(self.further_attempts())
        lines = {
            "tasks published": f"{len(self.published)} ({kinds[Kind.TRANSCRIPTION]} transcriptions, {self.live} live)",
            "blows": ", ".join(f"{what} {count}" for what, count in sorted(blows.items())),
            "results": f"{self.results.total()}, failures {sum(event.state is State.FAILED for event in events)}",
            "lost": len(self.published.keys() - self.results.keys()),
            "doubled": sum(count > 1 for count in self.results.values()),
            "wrong ends": len(self.wrong_ends()),
            "results unreadable": len(self.unreadable),
            "live tasks misheard": len(self.misheard),
            "audio done twice": f"{sum(self.published[task_id] for task_id, _ in recoveries):.0f} s at most",
            "slowest recovery": f"{max(gaps, default=0):.1f} s of {len(gaps)}",
            "longest silence": f"{max(silences, default=0):.1f} s, of workers that nobody hurt",
            "attempts above 1": f"{len(further)}, explained by {dict(Counter(reason for _, reason in further))}",
            "unexplained": " ".join(task_id for task_id, reason in further if reason == NOTHING) or "none",
            "errors": dict(Counter(event.error.message for event in events if event.error is not None)),
        }
        return "\n".join(f"{name:<19} {value}" for name, value in lines.items())

    def _reason(self, before: ProgressEvent, after: ProgressEvent) -> str:
        if self._hurt(before, after.time):
            return "worker"
        servers = [blow for blow in self.blows if blow.what.startswith("server")]
        if any(blow.falls_into(before.time, after.time, later_s=AFTER_A_SERVER_S) for blow in servers):
            return "server"
        return NOTHING

    def _hurt(self, running: ProgressEvent, until: datetime) -> bool:
        """Whether somebody has hurt the worker of this event by then."""
        pid = str(running.worker).split("-")[-2:-1]
        return any([blow.whom] == pid and blow.falls_into(running.time, until) for blow in self.blows)


def _seconds(before: ProgressEvent, after: ProgressEvent) -> float:
    return (after.time - before.time).total_seconds()


async def unreadable_results(client: Client, tasks: Iterable[str]) -> dict[str, str]:
    """The error of each task whose result the service does not give."""
    found = {}
    for task_id in tasks:
        try:
            await client.get_task_result(task_id)
        except ClientError as error:
            found[task_id] = str(error)
    return found


async def logs_of(client: Client, tasks: Iterable[str], *, within: float) -> dict[str, list[ProgressEvent]]:
    """The events of each task up to its end, or, of tasks that have not ended within this time, those so far."""
    logs: dict[str, list[ProgressEvent]] = {task_id: [] for task_id in tasks}
    end = time.monotonic() + within
    for task_id, events in logs.items():
        with suppress(TimeoutError):
            async with asyncio.timeout(max(end - time.monotonic(), READ_S)):
                async for event in client.follow(task_id):
                    if isinstance(event, ProgressEvent):
                        events.append(event)
    return logs
