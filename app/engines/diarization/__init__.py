"""Speaker diarization: segment windows of 10 s, embed their speech, cluster the embeddings to speakers, build turns."""

from typing import Final

from app.engines.diarization.campplus import CAMPPLUS

VOICE_NETWORK: Final = CAMPPLUS  # the one place that chooses it
