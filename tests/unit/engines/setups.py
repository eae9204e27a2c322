"""The setup of an engine process."""

from app.engines.messages import Setup

SETUP = Setup(
    parent=0,
    engine_device="cpu",
    engine_threads=1,
    engine_parallel=1,
    engine_beam=5,
    audio_max_seconds=60.0,
    audio_max_decode_seconds=60.0,
    diarization_max_seconds=60.0,
)


def setup(**settings: object) -> Setup:
    """Return a valid setup with other `settings`."""
    return SETUP.model_copy(update=settings)
