"""How much each part measures: enough for significant figures, or just enough for a smoke test."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The sizes of one run, and where it prints what it measures."""

    speech_minutes: int = 5
    kinds: tuple[str, ...] | None = None  # of recordings; None: all
    conversations: int | None = None  # the smallest files; None: all
    word_recordings: int | None = None  # whose words have times; None: all
    word_seconds: float = 60.0  # of each of them
    rounds: int = 2
    no_op_tasks: int = 2000
    starts: int = 200
    starters: int = 3  # workers, one after the other: each is a little quicker or slower than the last
    urgent_starts: int = 100
    watched: float = 5.0  # seconds of serving those that wait
    waiting: tuple[int, ...] = (10_000, 1_000_000)
    memory_minutes: tuple[int, ...] = (10, 60, 180)
    live_streams: tuple[int, ...] = (1, 4, 6, 8, 10, 12)  # at once
    live_alone: int = 3  # recordings that are played one after the other
    live_kills: int = 3  # recordings whose worker is killed
    live_seconds: float | None = None  # of each recording; None: all
    finalize_streams: tuple[int, ...] = (1, 6)  # at once
    finalize_messages: int = 20  # of each language in a stream alone; half of them in each of several
    silent_hours: float = 10.0
    fleets: tuple[int, ...] = (1, 4, 16, 64)  # workers
    fleet_idle_s: float = 60.0  # a multiple of the time that a pull stays open
    fleet_tasks: int = 10  # of each worker
    peers: bool = True
    log: Callable[[str], None] = lambda _: None


def smoke(log: Callable[[str], None]) -> Sizes:
    """Tiny sizes, without peers."""
    return Sizes(
        speech_minutes=1,
        kinds=("languages", "two-channels"),
        conversations=1,
        word_recordings=1,
        word_seconds=20.0,
        rounds=1,
        no_op_tasks=50,
        starts=5,
        starters=1,
        urgent_starts=5,
        watched=0.5,
        waiting=(50,),
        memory_minutes=(1,),
        live_streams=(1,),
        live_alone=1,
        live_kills=1,
        live_seconds=10.0,
        finalize_streams=(1,),
        finalize_messages=2,
        silent_hours=0.01,
        fleets=(2,),
        fleet_idle_s=2.0,
        fleet_tasks=2,
        peers=False,
        log=log,
    )
