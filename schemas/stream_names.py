"""Names of the streams and durable consumers."""

from dataclasses import dataclass

from .wire import Lane, Priority


@dataclass(frozen=True, slots=True)
class StreamNames:
    """Names of the streams, and the stem of the names of their durable consumers."""

    tasks: str
    progress: str
    segments: str
    results: str
    dead_letters: str
    live: str
    retention: str
    consumer_stem: str

    def queue_consumer(self, lane: Lane, priority: Priority) -> str:
        """The consumer of one of the nine task queues."""
        return f"{self.consumer_stem}_{lane}_{priority}"

    @property
    def progress_projection(self) -> str:
        """The consumer of progress events for the Redis projection."""
        return f"{self.consumer_stem}_projection_progress"

    @property
    def results_projection(self) -> str:
        """The consumer of results for the Redis projection."""
        return f"{self.consumer_stem}_projection_results"

    @property
    def ended_tasks(self) -> str:
        """The consumer of outcomes, from which the service learns that a task has ended."""
        return f"{self.consumer_stem}_retention_of_ended_tasks"

    @property
    def due_reminders(self) -> str:
        """The consumer of due retention reminders."""
        return f"{self.consumer_stem}_retention_of_due_reminders"
