"""The messages between a worker and its engine process, one JSON object a line.

The worker sends one `Setup`, then jobs. The engine process sends one or more replies to each `Job`, of which the last
is one of `LAST_REPLIES`. Samples are sent in base64: sent as bytes after the line, they would save only 2 ms of the 850
ms of CPU time that it takes to decode and transcribe a window.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from natscribe.schemas.diarization import Turn
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import Interval, TranscribeOptions
from natscribe.schemas.wire import Model, Speakers
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from app.engines.text.redaction.found import Found
from app.engines.windows import Window, WindowText


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Setup(_Message):
    """The first message to an engine process: the settings for all its jobs, named as in `Settings`."""

    parent: int = Field(default_factory=os.getpid, description="The worker's process: the engine process ends with it.")
    transcription_model: str | None = None
    transcription_models: tuple[str, ...] = ()
    transcription_models_dir: Path | None = None
    engine_device: str = "auto"
    engine_compute_type: str | None = None
    engine_threads: int
    engine_parallel: int
    engine_beam: int
    audio_max_seconds: float
    audio_max_decode_seconds: float
    diarization_max_seconds: float


class FindWindows(_Message):
    """Job: detect the windows of a recording, i.e. up to 20 s of speech each, from `start_at` (seconds) on.

    `channel`: the channel in which to detect them, counted from 0; None: the mix of all channels. `choose`: ignore
    `channel`; use channel 0 if the recording has 2 to 8 channels that carry different speech, else the mix.
    """

    type: Literal["find_windows"] = "find_windows"
    path: Path
    start_at: float = 0.0
    channel: int | None = None
    choose: bool = False


class LiveSpeakerOptions(_Message):
    """How to find the speakers of a live stream; separate channels have separate speakers.

    `max_speakers`: the most speakers of all channels together, though each channel may always have one; None: no limit.
    `labels`: how many labels are taken already; new speakers get higher ones. `states`: the last `state` in the replies
    of the process that had the stream before, for each channel (or the mix); empty: no speaker is known yet.
    """

    max_speakers: Speakers | None = None
    embed: bool = Field(False, description="Whether replies include the speakers' embeddings.")
    labels: int = 0
    states: list[str] = Field(default_factory=list, repr=False)


class ProcessLiveAudio(_Message):
    """Job: detect the utterances in the next piece of audio of a live stream.

    The engine process retains the state of the stream between its jobs. If it does not have this state, e.g. because it
    was restarted, the job fails with a transient error. Then the caller starts the stream again, by a job with `first`.
    """

    type: Literal["process_live_audio"] = "process_live_audio"
    stream: str = Field(description="Name of the stream: a task id and a random token.")
    audio: LiveAudio
    separate: bool = Field(False, description="Process each channel separately; else all are mixed.")
    start_at: list[float] = Field(
        default_factory=list,
        description="For each channel (or the mix): the time in seconds from which to detect; only used with `first`.",
    )
    first: bool = Field(False, description="Creates the stream, and closes an older one of this name.")
    skipped_bytes: int = Field(0, description="Bytes of the stream before its first job; only used with `first`.")
    data: str = Field("", repr=False, description="Bytes of the next frames, in base64.")
    include_open: bool = Field(True, description="Whether the reply includes the open utterances.")
    speakers: LiveSpeakerOptions | None = Field(
        None, description="How to find the speakers of each channel (or the mix); null: do not. Only used with `first`."
    )
    finalize: bool = Field(False, description="Ends the open utterances; the next audio begins new ones.")
    end: bool = Field(False, description="No more audio follows: ends the open utterances, and closes the stream.")


class CloseLiveStream(_Message):
    """Job: close a live stream, and so release its memory; an unknown stream is no error.

    The reply is a `LiveAudioProcessed` without utterances.
    """

    type: Literal["close_live_stream"] = "close_live_stream"
    stream: str


class Transcribe(_Message):
    """Job: transcribe a batch of windows, which may belong to several recordings.

    `previous`: the language spoken before each window, None if unknown. `interim`: the windows are utterances in
    progress, so transcribe them faster and less accurately.
    """

    type: Literal["transcribe"] = "transcribe"
    windows: list[Window]
    previous: list[str | None]
    options: TranscribeOptions = TranscribeOptions()
    interim: bool = False


class ChunkAnalysed(_Message):
    """Reply to `Diarize`: one chunk, i.e. about a minute of the recording, is analysed.

    `index`: the number of the chunk, from 0. `record`: the analysis, encoded as text. `revision`: the version of the
    networks and the code that made it. A later `Diarize` job for the same recording passes this reply in `known`, so
    that the chunk is not analysed again.
    """

    type: Literal["chunk"] = "chunk"
    index: int
    revision: str
    record: str = Field(repr=False)


class Diarize(_Message):
    """Job: diarize a recording, or one of its channels.

    `channel`: counted from 0; None: all channels mixed. `min_speakers`, `max_speakers`: None: unknown. `known`: the
    replies of an earlier job for the chunks that it has analysed; a chunk is analysed again only if its reply was made
    by another `revision` of the networks or the code.
    """

    type: Literal["diarize"] = "diarize"
    path: Path
    channel: int | None = None
    min_speakers: Speakers | None = None
    max_speakers: Speakers | None = None
    embed: bool = Field(False, description="Whether the reply includes the speakers' embeddings; each takes 0.7 s.")
    known: list[ChunkAnalysed] = Field(default_factory=list, repr=False)


class Load(_Message):
    """Job: load the transcription model that `options` name, and check that it supports the options."""

    type: Literal["load"] = "load"
    options: TranscribeOptions = TranscribeOptions()


class LoadVad(_Message):
    """Job: load the voice activity detector before the first recording needs it."""

    type: Literal["load_vad"] = "load_vad"


class StageAdvanced(_Message):
    """Reply that reports progress; `processed_seconds`: how much of the recording the job's `stage` has processed.

    `duration_seconds`: how long the recording is; None: unknown, as in a live task.
    """

    type: Literal["advanced"] = "advanced"
    stage: Stage
    processed_seconds: float
    duration_seconds: float | None


class RecordingOpened(_Message):
    """First reply to `FindWindows`: the recording's duration and number of channels.

    `channel`: the channel in which windows are detected; None: the mix of all channels.
    """

    type: Literal["opened"] = "opened"
    duration_seconds: float
    channels: int
    channel: int | None = None


class WindowFound(_Message):
    """Reply to `FindWindows`: the next window of the recording, i.e. up to 20 s of speech, with its samples."""

    type: Literal["window"] = "window"
    window: Window


class WindowSearchAdvanced(_Message):
    """Reply to `FindWindows`: how far the job has progressed.

    `seconds`: how much of the recording is decoded. `complete_until`: the time, in seconds, up to which all windows are
    detected.
    """

    type: Literal["window_search_advanced"] = "window_search_advanced"
    seconds: float
    complete_until: float


class WindowSearchDone(_Message):
    """Last reply to `FindWindows`: all windows are detected; `duration_seconds`: how much audio the recording has."""

    type: Literal["window_search_done"] = "window_search_done"
    duration_seconds: float


class SpeakerEmbedding(_Message):
    """The two embeddings of one speaker: of the speech as recorded, and of the same speech in telephone bandwidth.

    `speaker`: the label of the speaker in the turns. `seconds`: how much speech they were computed from, in which
    nobody else speaks; 0: the speaker has no embeddings.
    """

    speaker: str
    seconds: float
    agreement: float = Field(
        description="Similarity of the parts of the speech, 0 to 1; below 0.65, it sounds like two people."
    )
    values: str = Field(repr=False, description="192 integers of one byte each, in base64; empty: no embedding.")
    telephone: str = Field(repr=False, description="The same for telephone bandwidth.")


class RecordingEmbeddings(_Message):
    """The embeddings of all speakers of a recording; `model`: the network that computed them."""

    model: Model
    speakers: list[SpeakerEmbedding] = Field(repr=False)


class LiveDiarization(_Message):
    """The speakers that were detected so far in a live stream, or in one of its separate channels.

    `turns`: who speaks when since `settled_until` (seconds). `labels`: the labels of all speakers. `merged`: maps each
    label that is no longer used to the label that its speaker has now. `state`: what another process needs to continue.
    """

    turns: list[Turn]
    merged: dict[str, str]
    labels: list[str] = Field(default_factory=list)
    settled_until: float
    state: str = Field(repr=False)
    embedded: RecordingEmbeddings | None = Field(None, description="Null: not requested.")


class LiveAudioProcessed(_Message):
    """Reply to `ProcessLiveAudio`: the utterances that are complete, open (in progress) or closing (in a pause).

    It is also the reply to `CloseLiveStream`, and then contains no utterances.
    """

    type: Literal["live_audio_processed"] = "live_audio_processed"
    seconds: float = Field(description="Seconds of audio since the stream began.")
    windows: list[Window] = Field(description="The utterances that are complete now, in the order of their ends.")
    open: list[Window] = Field(description="The utterance so far of each channel in which somebody speaks now.")
    closing: list[Window] = Field(
        default_factory=list,
        description="Utterances in a pause, each once: they are complete if the pause gets long enough.",
    )
    complete_until: list[float] = Field(
        description="For each channel (or the mix): the time in seconds up to which all utterances are detected."
    )
    lost: float = Field(0.0, description="Seconds of audio that the time stamps of a file have skipped so far.")
    speaking: list[str | None] = Field(
        default_factory=list, description="Label of the current speaker in each channel."
    )
    speakers: list[LiveDiarization] = Field(
        default_factory=list, description="The speakers of each channel so far; empty: the same as in the last reply."
    )


class WindowsTranscribed(_Message):
    """Reply to `Transcribe`: the text of each window, in the order of the job; `seconds`: how long the batch took."""

    type: Literal["windows_transcribed"] = "windows_transcribed"
    texts: list[WindowText]
    seconds: float


class DiarizationDone(_Message):
    """Last reply to `Diarize`: the turns of the whole recording.

    `model`: the diarization model. `cached`: this reply was read from the cache of a worker; the engine did not run.
    """

    type: Literal["diarization_done"] = "diarization_done"
    turns: list[Turn]
    duration_seconds: float
    model: Model
    embedded: RecordingEmbeddings | None = Field(None, description="Null: the job did not request embeddings.")
    cached: bool = False


class Loaded(_Message):
    """Reply to `Load`: the model is loaded.

    `fingerprint`: what texts depend on besides the model: device, precision and search, such as "cpu int8 beam 5".
    """

    type: Literal["loaded"] = "loaded"
    model: Model
    fingerprint: str = ""


class VadLoaded(_Message):
    """Reply to `LoadVad`: the voice activity detector is loaded."""

    type: Literal["vad_loaded"] = "vad_loaded"


class FindPersons(_Message):
    """Job: find the names of persons in a text; `language`: that of the text, if it is known."""

    type: Literal["find_persons"] = "find_persons"
    text: str
    language: str | None


class PersonsFound(_Message):
    """Reply to `FindPersons`: where the names are."""

    type: Literal["persons_found"] = "persons_found"
    found: list[Found]


class RedactAudio(_Message):
    """Job: write the recording `path` to the file `output`, as FLAC, without what is spoken in `spans`.

    `spans`: in seconds. `beep`: replace them by a tone, else by silence.
    """

    type: Literal["redact_audio"] = "redact_audio"
    path: Path
    output: Path
    spans: list[Interval]
    beep: bool = False


class AudioRedacted(_Message):
    """Last reply to `RedactAudio`: the file is written; `duration_seconds`: how long its audio is."""

    type: Literal["audio_redacted"] = "audio_redacted"
    duration_seconds: float


class Failed(_Message):
    """Last reply to any job that failed; the engine process remains able to run the next job."""

    type: Literal["failed"] = "failed"
    error: ErrorDetail
    transient: bool = Field(description="Whether another attempt may succeed.")


Job = Annotated[
    LoadVad
    | Load
    | FindWindows
    | ProcessLiveAudio
    | CloseLiveStream
    | Transcribe
    | Diarize
    | FindPersons
    | RedactAudio,
    Field(discriminator="type"),
]
Reply = Annotated[
    StageAdvanced
    | RecordingOpened
    | WindowFound
    | WindowSearchAdvanced
    | WindowSearchDone
    | LiveAudioProcessed
    | WindowsTranscribed
    | ChunkAnalysed
    | DiarizationDone
    | Loaded
    | VadLoaded
    | PersonsFound
    | AudioRedacted
    | Failed,
    Field(discriminator="type"),
]
JOB: TypeAdapter[Job] = TypeAdapter(Job)
REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)
LAST_REPLIES = (
    WindowSearchDone,
    LiveAudioProcessed,
    WindowsTranscribed,
    DiarizationDone,
    Loaded,
    VadLoaded,
    PersonsFound,
    AudioRedacted,
    Failed,
)
