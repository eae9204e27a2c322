"""The messages between a worker and its engine process, one JSON object a line.

The worker sends one `Setup`, then jobs. The engine process answers each `Job` with any number of replies; the last
reply is one of `LAST_REPLIES`. Samples travel in base64: as bytes behind the line they would take 2 ms less processor
time per window, of 850 ms that decoding and transcribing a window take.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from natscribe.schemas.diarization import Turn
from natscribe.schemas.errors import ErrorDetail
from natscribe.schemas.live import LiveAudio
from natscribe.schemas.progress import Stage
from natscribe.schemas.transcription import TranscribeOptions
from natscribe.schemas.windows import Window, WindowText
from natscribe.schemas.wire import Model, Speakers
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Setup(_Line):
    """The first line that the worker sends: the settings for all jobs, named as in `Settings`."""

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


class FindWindows(_Line):
    """Job: find the windows of a recording from `start_at` seconds on.

    `channel`: only in this channel, counted from 0; null: in all channels mixed. `choose`: only in channel 0 if the
    recording has up to eight channels and they carry different speech, else in all channels mixed.
    """

    type: Literal["listen"] = "listen"
    path: Path
    start_at: float = 0.0
    channel: int | None = None
    choose: bool = False


class ProcessLiveAudio(_Line):
    """Job: find the utterances in the next sound of a live stream.

    The engine process keeps the state of the stream from one job to the next. If it does not know the stream, the job
    fails with a transient error, and the stream has to begin again, with `first`.
    """

    type: Literal["hear"] = "hear"
    stream: str = Field(description="Names the stream: a task id and a random token.")
    audio: LiveAudio
    separate: bool = Field(False, description="Hear each of several channels on its own; else all are mixed.")
    start_at: list[float] = Field(
        default_factory=list,
        description="For each channel (or the mix) the second up to which it is transcribed; read with `first` alone.",
    )
    first: bool = Field(False, description="Begins the stream; an older one of this name is forgotten.")
    before: int = Field(
        0, description="Bytes of the stream before its first job, which nobody needs again; read with `first` alone."
    )
    sound: str = Field("", repr=False, description="Bytes of frames in order, in base64; at most 1 MiB.")
    show: bool = Field(True, description="Whether the reply has the utterances that are open.")
    end: bool = Field(False, description="No more sound follows: what is open is closed, and the stream is forgotten.")


class CloseLiveStream(_Line):
    """Job: forget a live stream; do nothing if the engine process does not know the stream."""

    type: Literal["forget"] = "forget"
    stream: str


class Transcribe(_Line):
    """Job: transcribe a batch of windows of any recordings.

    `previous`: the language spoken before each window, null if unknown. `draft`: write drafts, which are quick and less
    exact, because the utterances go on.
    """

    type: Literal["transcribe"] = "transcribe"
    windows: list[Window]
    previous: list[str | None]
    options: TranscribeOptions = TranscribeOptions()
    draft: bool = False


class ChunkAnalysed(_Line):
    """Reply: the analysis of one chunk, about a minute of the recording, written as the text `record`.

    A later `Diarize` job for the same recording passes the reply as `known`, so that the chunk is not analysed again.
    `revision` names the networks and the code that made the analysis.
    """

    type: Literal["chunk"] = "chunk"
    index: int
    revision: str
    record: str = Field(repr=False)


class Diarize(_Line):
    """Job: find who speaks when in a recording.

    `channel`: only in this channel, counted from 0; null: in all channels mixed. Chunks in `known` are not analysed
    again, unless they have another revision.
    """

    type: Literal["diarize"] = "diarize"
    path: Path
    channel: int | None = None
    min_speakers: Speakers | None = None
    max_speakers: Speakers | None = None
    embed: bool = Field(False, description="Whether the reply has the speakers' embeddings: .7 s more for each.")
    known: list[ChunkAnalysed] = Field(default_factory=list, repr=False)


class Load(_Line):
    """Job: load the model that `options` name, and check that it can follow the options."""

    type: Literal["load"] = "load"
    options: TranscribeOptions = TranscribeOptions()


class Prepare(_Line):
    """Job: load the voice detector before the first recording needs it."""

    type: Literal["prepare"] = "prepare"


class StageAdvanced(_Line):
    """Reply: how many seconds of the recording a stage has processed."""

    type: Literal["advanced"] = "advanced"
    stage: Stage
    processed_seconds: float
    duration_seconds: float | None


class RecordingOpened(_Line):
    """Reply: the duration of the recording and the number of its channels; `channel`: the one that is listened to.

    `channel` is null if all channels are mixed.
    """

    type: Literal["opened"] = "opened"
    duration_seconds: float
    channels: int
    channel: int | None = None


class WindowFound(_Line):
    """Reply: the next window of the recording."""

    type: Literal["window"] = "window"
    window: Window


class WindowSearchAdvanced(_Line):
    """Reply: how many seconds are decoded so far; all windows before the second `settled` are found."""

    type: Literal["listened"] = "listened"
    seconds: float
    settled: float


class WindowSearchDone(_Line):
    """Reply: all windows of the recording are found."""

    type: Literal["listening_done"] = "listening_done"
    duration_seconds: float


class LiveAudioProcessed(_Line):
    """Reply to `ProcessLiveAudio`: which utterances are complete, open or closing; to `CloseLiveStream`: empty."""

    type: Literal["heard"] = "heard"
    seconds: float = Field(description="Seconds of sound since the stream began.")
    windows: list[Window] = Field(description="The utterances that are complete now, in the order of their ends.")
    open: list[Window] = Field(description="The utterance so far of each channel in which somebody speaks now.")
    closing: list[Window] = Field(
        default_factory=list,
        description="Utterances in whose pause nobody has spoken yet, each once: if nobody does, they are complete.",
    )
    settled: list[float] = Field(
        description="For each channel (or the mix) the second before which all utterances are found."
    )
    lost: float = Field(0.0, description="Seconds of sound that the time stamps of a file have skipped so far.")


class WindowsTranscribed(_Line):
    """Reply: the text of each window of a batch, in the order of the job; `seconds`: how long the batch took."""

    type: Literal["windows_transcribed"] = "windows_transcribed"
    texts: list[WindowText]
    seconds: float


class SpeakerEmbedding(_Line):
    """The two embeddings of one speaker of a recording: as the speech sounds, and as a telephone transmits it.

    `seconds`: how much speech of this speaker alone was embedded; 0: the speaker has no embeddings.
    """

    speaker: str
    seconds: float
    agreement: float = Field(description="How alike parts of the speech are, 0 to 1; below .65: as of two people.")
    values: str = Field(repr=False, description="192 whole numbers of a byte each, in base64; empty: no embedding.")
    telephone: str = Field(repr=False, description="The same, of the speech as a telephone transmits it.")


class Embedded(_Line):
    """The embeddings of all speakers of a recording, and the network that made them."""

    model: Model
    speakers: list[SpeakerEmbedding] = Field(repr=False)


class DiarizationDone(_Line):
    """Reply: the turns of the whole recording; `cached`: they come from the cache, and no engine has run."""

    type: Literal["diarization_done"] = "diarization_done"
    turns: list[Turn]
    duration_seconds: float
    model: Model
    embedded: Embedded | None = Field(None, description="Null: the job did not ask for embeddings.")
    cached: bool = False


class Loaded(_Line):
    """Reply: the model is loaded; `fingerprint` is its device, precision and search, on which its texts depend."""

    type: Literal["loaded"] = "loaded"
    model: Model
    fingerprint: str = ""


class Prepared(_Line):
    """Reply: the voice detector is loaded."""

    type: Literal["prepared"] = "prepared"


class Failed(_Line):
    """Reply: the job failed; the engine process can run the next job."""

    type: Literal["failed"] = "failed"
    error: ErrorDetail
    transient: bool = Field(description="Whether another attempt may succeed.")


Job = Annotated[
    Prepare | Load | FindWindows | ProcessLiveAudio | CloseLiveStream | Transcribe | Diarize,
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
    | Prepared
    | Failed,
    Field(discriminator="type"),
]
JOB: TypeAdapter[Job] = TypeAdapter(Job)
REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)
LAST_REPLIES = (WindowSearchDone, LiveAudioProcessed, WindowsTranscribed, DiarizationDone, Loaded, Prepared, Failed)
