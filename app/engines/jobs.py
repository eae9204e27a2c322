"""What the engine process can do, with the models that it keeps between jobs."""

from collections.abc import Callable

from app.engines import transcription, whisper
from app.engines.decoding import Limit
from app.engines.diarization import Diarizer
from app.engines.messages import DiarizationDone, Diarize, Job, Load, Loaded, Reply, Setup, Transcribe
from app.engines.models import Models
from app.engines.whisper import Whisper

Tell = Callable[[Reply], None]


class Workshop:
    """Does jobs; keeps one transcription model and the diarizer in memory."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._models = Models(setup.model, setup.models_dir)
        self._whisper: tuple[str | None, Whisper] | None = None
        self._diarizer: Diarizer | None = None

    def do(self, job: Job, tell: Tell) -> None:
        """Do a job and tell all replies (PermanentError where it cannot be done)."""
        match job:
            case Transcribe():
                limit = self._limit(self._setup.max_seconds, "AUDIO_MAX_SECONDS")
                for news in transcription.transcribe(self._load(job.model), job, limit):
                    tell(news)
            case Diarize():
                tell(self._diarize(job, tell))
            case Load():
                tell(Loaded(model=self._load(job.model).identity))

    def _load(self, name: str | None) -> Whisper:
        if self._whisper is None or self._whisper[0] != name:
            weights = self._models.find(name)
            self._whisper = None  # two large models at once might not fit
            self._whisper = name, whisper.load(weights, self._setup.threads)
        return self._whisper[1]

    def _diarize(self, job: Diarize, tell: Tell) -> DiarizationDone:
        if self._diarizer is None:
            self._diarizer = Diarizer(self._setup.threads)
        limit = self._limit(self._setup.diarization_max_seconds, "DIARIZATION_MAX_SECONDS")
        return self._diarizer.diarize(job, limit, tell)

    def _limit(self, seconds: float, setting: str) -> Limit:
        return Limit(seconds, setting, self._setup.max_decode_seconds)
