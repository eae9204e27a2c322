"""The container: the only place that creates the components of a worker that use NATS, and connects them."""

from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from faststream.nats.subscriber.usecases import LogicSubscriber
from nats.aio.client import Client
from nats.aio.msg import Msg
from natscribe.jetstream import streams
from opentelemetry.trace import Tracer
from redis.asyncio import Redis

from app.engines.cores import usable_cores, windows_at_once
from app.engines.diarization import VOICE_NETWORK
from app.engines.model_loader import ModelLoader
from app.engines.offered_models import offered_models
from app.engines.whisper import bundled
from app.engines.window_queue import WindowQueue
from app.fleet.expiry import Expiry
from app.fleet.maintenance import Maintenance
from app.fleet.stream_guard.guard import StreamGuard
from app.requests.result_writer import ResultWriter
from app.requests.task_list import TaskList
from app.requests.task_lookup import find_task
from app.requests.task_queues import QueueOverviews
from app.requests.task_requests import TaskRequests
from app.requests.text_redaction import TextRedaction
from app.requests.user_erasure import UserErasure
from app.requests.voice_requests import VoiceRequests
from app.requests.worker_report import WorkerReport
from app.runtime.errors import TransientError
from app.runtime.telemetry.metrics import Meter
from app.settings import MOST_LIVE_STREAMS, MOST_WINDOWS, Settings
from app.speech.diarizer import Diarizer
from app.speech.live.frames import erase as erase_frames
from app.speech.live.session import LiveTranscriber
from app.speech.recordings.cache import TranscriptCache
from app.speech.recordings.transcriber import Transcriber
from app.speech.voices.identification import Identification
from app.speech.voices.store import VoiceStore
from app.speech.window_sharing.sharing import MIN_MAX_PAYLOAD_BYTES, WorkSharing
from app.storage.jetstream.connection_monitor import ConnectionMonitor
from app.storage.jetstream.lease import Lease, QueueReport, Report
from app.storage.jetstream.publishers import Publishers
from app.storage.recordings.stores import make_recording_store
from app.storage.redis import cache
from app.storage.redis.chunks import ChunkStore
from app.tasks.dead_letters.replay import Replayer
from app.tasks.dead_letters.store import DeadLetterStore
from app.tasks.execution.beginning import Beginning
from app.tasks.execution.heartbeat import Heartbeat
from app.tasks.execution.settlement import Settlement
from app.tasks.execution.telemetry import Telemetry
from app.tasks.projection.projection import RedisProjection
from app.tasks.projection.task_lists import remove_expired
from app.tasks.queue.fair_queue import Quota
from app.tasks.queue.granted_task import GrantReader
from app.tasks.queue.grants import Grants
from app.tasks.queue.index import QueueIndex
from app.tasks.queue.positions import Positions
from app.tasks.queue.queue_reader import QueueReader
from app.tasks.queue.quotas import Quotas
from app.tasks.queue.registration import Registration
from app.tasks.queue.scheduler import Scheduler
from app.tasks.queue.task_messages import TaskMessages
from app.tasks.queue.task_slots import TaskSlots, task_slots
from app.tasks.retention.erasure import Erasure
from app.tasks.retention.late_frames import LateFrames
from app.tasks.retention.reminders import Reminders
from app.tasks.retention.schedule import Schedule
from app.tasks.task_log.log import TaskLog
from app.tasks.task_log.results import ResultStore

REDIS_TIMEOUT_S: Final = 3.0  # less than the five seconds that clients wait for a reply


def live_tasks_at_once(setting: int) -> int:
    """Return how many live tasks a worker runs at the same time, for a value of the setting LIVE_STREAMS.

    The value 0 means four for each core, up to MOST_LIVE_STREAMS.
    """
    return setting or min(max(int(4 * usable_cores()), 1), MOST_LIVE_STREAMS)


@dataclass(eq=False)
class Container:
    """Creates and holds the components of one worker, once it is connected to NATS."""

    worker_name: str
    settings: Settings
    nats: Client
    models: ModelLoader
    connection: ConnectionMonitor
    publishers: Publishers
    shared_windows: LogicSubscriber[Msg]  # receives windows of other workers while it is started
    meter: Meter
    tracer: Tracer

    def __post_init__(self) -> None:
        self.names, self.engine = self.settings.stream_names, self.models.engine
        url, timeout = self.settings.redis_url, REDIS_TIMEOUT_S
        redis = Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout)
        self.projection = RedisProjection(redis)
        self.redis_of_cache = cache.connected(self.settings.redis_url)
        self.lease = Lease(self.nats, self.settings.stem, self.worker_name, on_report=self._adopt)
        self.stream_guard = StreamGuard(self.nats, self.settings, self.meter, self.lease)
        self.log = TaskLog(self.nats, self.publishers, self.names, self.worker_name)
        self.results = ResultStore(self.nats, self.log)
        self.dead_letters = DeadLetterStore(self.nats, self.publishers.dead_letters, self.log, self.names, self.meter)
        self.reminders = Reminders(self.nats, self.publishers.reminders, self.names)
        self.replayer = Replayer(self.nats, self.publishers.tasks, self.dead_letters, self.log, self.names)
        self._make_queue()
        self._make_speech()
        self._make_execution()
        self._make_retention()
        self._make_requests()
        self._make_operations()

    def close_with(self, closing: AsyncExitStack) -> None:
        """Let `closing` close the components."""
        for component in (self.projection.close, self.redis_of_cache.aclose, self.lease.release):
            closing.push_async_callback(component)
        closing.callback(self.result_writer.close)
        closing.push_async_callback(self.worker_report.close)
        closing.push_async_callback(self.windows.close)

    async def start_guard(self) -> float:
        """Wait until all streams, consumers and buckets exist; return the acknowledgement timeout of the task queues.

        If a worker sends no heartbeat for this number of seconds, JetStream redelivers its task.
        """
        state, new = await self.stream_guard.start()
        if self.names.progress_projection in new:
            with suppress(TransientError):  # the new consumer projects everything anyway
                await self.projection.mark()
        self.projection.stream_created_at = state.progress_created_at or ""
        return state.ack_wait

    def _queue_report(self) -> QueueReport:
        return self.lease.holder.queues if self.lease.holder is not None else QueueReport()

    def _adopt(self, report: Report) -> None:
        if report.progress_created_at is not None:
            self.projection.stream_created_at = report.progress_created_at

    def _make_queue(self) -> None:
        self.messages = TaskMessages(self.nats, self.publishers.removed, self.names)
        self.read_grant = GrantReader(self.messages)
        live_tasks = live_tasks_at_once(self.settings.live_streams)
        self.slots = TaskSlots(self.names, task_slots(live_tasks), self.connection.restored)
        self.queues = QueueReader(self.nats, self.names, self.messages, lambda: self._queue_report().scheduled)
        self.positions = Positions(self.publishers.positions, self.messages)
        self.registration = Registration(
            self.log, self.messages, self.positions, self.settings.max_attempts, self.projection.delete
        )
        self.task_index = QueueIndex(self.nats, self.names, self.messages, key=lambda message: message.task_id)
        self.find_task = partial(find_task, self.log, self.task_index, self.registration)
        default = Quota(max_running=self.settings.user_max_running, max_waiting=self.settings.user_max_waiting)
        self.quotas = Quotas(self.nats, default)
        self.expiry = Expiry(self.messages, self.registration, self.log, self.dead_letters)
        self.scheduler = Scheduler(
            self.nats,
            self.names,
            self.messages,
            Grants(self.publishers.grants, self.names),
            quota=self.quotas.of,
            reject=self.expiry.fail,
            report_waiting=self.registration.announce_waiting,
        )
        self.quotas.changed = self.scheduler.reconsider

    def _make_execution(self) -> None:
        settings = self.settings
        self.settlement = Settlement(
            self.log,
            self.messages,
            self.dead_letters,
            self.reminders,
            self.projection,
            max_attempts=settings.max_attempts,
            retry_delay=settings.task_retry_delay,
        )
        self.beginning = Beginning(
            self.registration, self.log, self.results, self.connection, meter=self.meter, tracer=self.tracer
        )
        self.telemetry = Telemetry(self.worker_name, self.meter)
        self.heartbeat = Heartbeat(self.nats, self.meter, settings.task_timeout)

    def _make_speech(self) -> None:
        self.recordings = make_recording_store(self.settings, self.nats)
        self.cache = cache.Cache(self.redis_of_cache, ttl=self.settings.cache_ttl)
        at_once = windows_at_once(self.settings.engine_parallel, self.settings.engine_threads)
        largest = min(self.settings.engine_batch * at_once, MOST_WINDOWS)
        self.windows = WindowQueue(self.engine, at_once=at_once, largest=largest)
        has_room = self.nats.max_payload >= MIN_MAX_PAYLOAD_BYTES
        publisher = self.publishers.windows if has_room else None
        self.sharing = WorkSharing(publisher, self.engine, self.windows, self.shared_windows, self.settings)
        self.voice_store = VoiceStore(self.nats)
        self.identification = Identification(self.voice_store, self.settings)
        self.diarizer = Diarizer(
            self.recordings, self.engine, self.cache, ChunkStore(self.redis_of_cache), self.identification
        )
        transcripts, threads = TranscriptCache(self.cache), self.settings.engine_threads
        self.transcriber = Transcriber(
            self.recordings, self.engine, transcripts, self.diarizer, self.windows, self.sharing, threads
        )
        self.live_transcriber = LiveTranscriber(
            self.nats,
            self.publishers,
            self.engine,
            self.windows,
            self.diarizer,
            settings=self.settings,
            metrics=self.meter.live,
        )

    def _make_retention(self) -> None:
        self.erase_frames = partial(erase_frames, self.nats, self.names.live)
        self.erasure = Erasure(
            self.log,
            self.results,
            self.reminders,
            messages=self.messages,
            dead_letters=self.dead_letters,
            recordings=self.recordings,
            projection=self.projection,
            cache=self.cache,
            erase_frames=self.erase_frames,
        )
        audio_ttl = self.settings.audio_erased_after_s
        self.retention = Schedule(
            self.nats, self.names, self.log, self.messages, self.reminders, self.erasure, audio_ttl, self.meter
        )

    def _make_requests(self) -> None:
        self.result_writer = ResultWriter(self.results, self.voice_store, self.meter, max_payload=self.nats.max_payload)
        self.tasks = TaskRequests(
            self.log, self.result_writer, self.positions, self.messages, self.erasure, self.find_task
        )
        self.voices = VoiceRequests(
            nats=self.nats,
            publisher=self.publishers.forgotten,
            store=self.voice_store,
            embeddings=self.results.embeddings,
            cache=self.cache,
            identification=self.identification,
            network=lambda: VOICE_NETWORK.model,
            find=self.find_task,
        )
        self.task_list = TaskList(self.redis_of_cache, max_payload=self.nats.max_payload)
        self.task_queues = QueueOverviews(self.nats, self.names, self.queues, self._queue_report)
        self.redaction = TextRedaction(self.engine, self.meter)
        self.users = UserErasure(
            registration=self.registration,
            erasure=self.erasure,
            forget_voices=self.voices.forget_all,
            delete_task=self.tasks.delete,
        )

    def _make_operations(self) -> None:
        settings = self.settings
        models = settings.transcription_model, settings.transcription_models, settings.transcription_models_dir
        self.worker_report = WorkerReport(
            self.worker_name,
            self.settings.audio_store,
            problems=lambda: [*self.stream_guard.problems, *self.quotas.problems],
            model=lambda: self.models.model,
            offered=lambda: {*offered_models(*models), *bundled.NAMES},
            recordings=self.recordings,
            projection=self.projection,
            idle=lambda: self.slots.idle,
        )
        after = timedelta(seconds=streams.TASK_TTL_S)
        late_frames = LateFrames(
            self.nats, self.names, self.log, self.task_index.find, self.erase_frames, self.lease.confirm
        )
        self.maintenance = Maintenance(
            self.nats,
            self.settings,
            self.lease,
            self.stream_guard,
            self.scheduler,
            queues=self.queues,
            projection=self.projection,
            engine=self.engine,
            meter=self.meter,
            clean_lists=partial(remove_expired, self.redis_of_cache),
            expire=partial(self.expiry.expire, after=after),
            erase_late_frames=late_frames.erase,
            oldest_due=self.reminders.oldest_due,
        )
