"""Names of the JetStream streams and durable consumers of a deployment."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamNames:
    """Names of the streams; `consumer_stem` is the prefix of the names of all durable consumers.

    `retention`: the stream of reminders to erase the data of ended tasks. `ready`: the stream of grants, i.e. messages
    that let workers start tasks.
    """

    tasks: str
    progress: str
    segments: str
    speakers: str
    results: str
    erased: str
    dead_letters: str
    live: str
    retention: str
    ready: str
    consumer_stem: str

    def slot_consumer(self, pool: str) -> str:
        """Return the name of the durable consumer of grants, the messages that let a worker start a task.

        `pool`: the slots that the tasks need, "recordings" or "live"; each slot of a worker runs one task at a time.
        """
        return f"{self.consumer_stem}_ready_{pool}"

    @property
    def progress_projection(self) -> str:
        """The name of the durable consumer that copies task states from the progress stream to Redis."""
        return f"{self.consumer_stem}_projection_progress"

    @property
    def results_projection(self) -> str:
        """The name of the durable consumer that copies results to Redis."""
        return f"{self.consumer_stem}_projection_results"

    @property
    def ended_tasks(self) -> str:
        """The name of the durable consumer of the results stream by which the service notices that a task has ended."""
        return f"{self.consumer_stem}_retention_of_ended_tasks"

    @property
    def due_reminders(self) -> str:
        """The name of the durable consumer of due reminders, i.e. requests to erase the data of an ended task now."""
        return f"{self.consumer_stem}_retention_of_due_reminders"
