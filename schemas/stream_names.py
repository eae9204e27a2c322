"""Names of the streams and of their durable consumers."""

from dataclasses import dataclass

from .wire import Lane, Priority


@dataclass(frozen=True, slots=True)
class StreamNames:
    """Names of the streams and of the durable consumers."""

    tasks: str
    progress: str
    segments: str
    results: str
    dead_letters: str
    live: str
    retention: str
    consumer_stem: str

    def queue_consumer(self, queue: Lane, priority: Priority) -> str:
        """The name of the consumer of one of the nine task queues."""
        return f"{self.consumer_stem}_{queue}_{priority}"

    @property
    def progress_projection(self) -> str:
        """The name of the consumer that feeds the projection with progress events."""
        return f"{self.consumer_stem}_projection_progress"

    @property
    def results_projection(self) -> str:
        """The name of the consumer that feeds the projection with results."""
        return f"{self.consumer_stem}_projection_results"

    @property
    def ended_tasks(self) -> str:
        """The name of the consumer of outcomes, which lets the service note when a task has ended."""
        return f"{self.consumer_stem}_retention_of_ended_tasks"

    @property
    def due_reminders(self) -> str:
        """The name of the consumer of reminders whose time has come."""
        return f"{self.consumer_stem}_retention_of_due_reminders"
