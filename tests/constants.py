"""The times and sizes of the service that tests change, each with the modules that use it.

Here is the one place that knows where a constant stands: tests know it by its name.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Final, Protocol

import pytest
from natscribe import s3 as client_s3
from natscribe.cli import decoding, follow, url_audio
from natscribe.client import bucket, examination, exchange, workers
from natscribe.client import connection as client_connection
from natscribe.jetstream import leader_reads, stream_pages, streams
from natscribe.mock import log as mock_log

from app.dead_letters import replay, store
from app.embedded import guarded_process, process
from app.engines.audio import limits, live_pipe, live_streams
from app.execution import attempt, delivery
from app.jetstream import connection, pull_inbox, stream_log, usage
from app.live import audio_recording, frames
from app.operations import maintenance
from app.queue import consumer, index, positions, registration
from app.recordings import https, s3
from app.redis_store import projection
from app.requests import result_writer, task_lookup, user_erasure, worker_report
from app.retention import late_frames, reminders, schedule
from app.stream_guard import guard
from app.voices import store as voices
from app.work_sharing import sharing

USED_BY: Final[Mapping[str, tuple[ModuleType, ...]]] = {
    "ADVISORY_HEAD_START_S": (guard,),
    "START_TIMEOUT_S": (process,),
    "REPLY_WITHIN_S": (replay, store, user_erasure),
    "SECOND_POLL_AFTER_S": (consumer,),
    "POSITION_EVERY_S": (follow,),
    "AUTHORITIES": (url_audio,),
    "CHECKED_WITHIN_S": (examination,),
    "CHECK_EVERY_S": (maintenance,),
    "CLEAN_LISTS_EVERY_S": (maintenance,),
    "CONNECT_TIMEOUT_S": (client_connection,),
    "DIRECT_GET_TIMEOUT_S": (stream_pages,),
    "DUPLICATE_WINDOW_S": (streams,),
    "ELECTION_S": (exchange,),
    "ERASE_AGAIN_AFTER_S": (schedule,),
    "ERASE_LATE_FRAMES_EVERY_S": (maintenance,),
    "TASK_TTL_S": (streams,),
    "EXPIRE_EVERY_S": (maintenance,),
    "FIRST_REPLY_S": (usage,),
    "TOMBSTONE_S": (projection,),
    "GIVE_UP_AFTER_S": (stream_log,),
    "HEALTH_WITHIN_S": (worker_report,),
    "RETRY_UPLOAD_FOR_S": (bucket,),
    "STORE_RETRY_S": (audio_recording,),
    "MAX_REPLY_BYTES": (stream_pages,),
    "LARGEST_WRITTEN_BYTES": (result_writer,),
    "LAST_APPEND_TIMEOUT_S": (attempt,),
    "MIN_EVENT_INTERVAL_S": (attempt, mock_log),
    "MIN_IDLE_S": (frames,),
    "LOCK_TIMEOUT_S": (guarded_process,),
    "LOGS_AT_ONCE": (late_frames,),
    "LOG_POLL_INTERVAL_S": (delivery,),
    "LONG_WITHOUT_IDLING_S": (consumer,),
    "LONG_TASK_S": (consumer,),
    "CHECK_IDLE_EVERY_S": (sharing,),
    "GRACE_S": (limits,),
    "GUARD_EVERY_S": (guard,),
    "MEASURE_EVERY_S": (maintenance,),
    "MOST_WAITING": (result_writer,),
    "MAX_RETRIES": (client_s3,),
    "MAX_JOB_SECONDS": (live_streams,),
    "MAX_STALL_S": (live_pipe,),
    "NATS_WITHIN_S": (connection,),
    "OUTAGE_PAUSE_S": (registration,),
    "PAGE_SIZE": (stream_pages,),
    "GRACE_PERIOD_S": (client_connection,),
    "PIECE_BYTES": (s3,),
    "POLL_INTERVAL_S": (consumer,),
    "POLL_S": (frames,),
    "STATE_MAX_AGE_S": (positions,),
    "READ_WITHIN_S": (task_lookup,),
    "POLL_ALL_AFTER_S": (consumer,),
    "RECONNECTED_WITHIN_S": (delivery,),
    "REGISTERED_WITHIN_S": (replay,),
    "REPEATED_AFTER_S": (attempt,),
    "REPLIES_WITHIN_S": (workers,),
    "REPLY_TIMEOUT_S": (exchange,),
    "REQUEST_TIMEOUT_S": (leader_reads, pull_inbox),
    "RESTORE_EVERY_S": (guard,),
    "RETRY_EVERY_S": (connection,),
    "ROUND_TRIP_WITHIN_S": (examination,),
    "RESEND_AFTER_S": (exchange,),
    "SET_WITHIN_S": (reminders,),
    "SHARED_FOR_S": (worker_report,),
    "NETWORK_TIMEOUT_S": (decoding,),
    "SPARE": (index,),
    "STALLED_S": (https, s3),
    "UNCONFIRMED_S": (voices,),
    "DELAY_CHECK_INTERVAL_S": (registration,),
    "SILENCE_REPORT_EVERY_S": (frames,),
    "WITHOUT_TASK_S": (late_frames,),
    "WRITTEN_WITHIN_S": (result_writer,),
}


class Constants(Protocol):
    """Changes constants until the test ends: ``constants(EXPIRE_EVERY_S=0.1)``."""

    def __call__(self, **values: float | tuple[str, ...]) -> None:
        """Give the constants of these names these values."""


def changed_in(monkeypatch: pytest.MonkeyPatch) -> Constants:
    """Return what changes constants until `monkeypatch` takes its changes back."""

    def change(**values: float | tuple[str, ...]) -> None:
        for name, value in values.items():
            for module in USED_BY[name]:
                monkeypatch.setattr(module, name, value)

    return change
