"""CAM++, a network for voices: see the README in this folder."""

from pathlib import Path
from typing import Final

from app.engines.diarization.voice_network import VoiceNetwork

CAMPPLUS: Final = VoiceNetwork(
    folder=Path(__file__).parent,
    features=b"1",
    dimension=192,
    is_telephone=0.8,
    max_linkage=0.62,
    max_centroid_distance=0.46,
    max_centroid_distance_in_channel=0.55,
    min_split_distance=0.25,
    uncertain_frames=15.0,
    split_uncertain_frames=36.0,
    whitened_distance=0.05,
    change_cost=0.25,
    change_cost_after_pause=0.05,
    same_speaker_cost=0.9,
    min_echo_similarity=0.6,
    min_new_s=(1.5, 3.0),
    enough_s=(20.0, 10.0),
    similar=0.35,
    merge_similarity=0.54,
    merge_similarity_in_channel=0.45,
    unknown_similarity=0.3,
    min_agreement=0.65,  # one person has 0.66 and more, also in noise (docs/decisions/0031)
    min_whitened_agreement=0.67,
    telephone_bias=0.17,  # docs/decisions/0031
)
