"""A network that computes speaker embeddings, with all that was tuned to it."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from natscribe.schemas.wire import Model

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class VoiceNetwork:
    """A speaker embedding model: its files, the size of its embeddings, and every threshold that was tuned to it.

    Similarities are cosine similarities of embeddings, and distances are 1 - similarity. The defaults of the settings
    `VOICE_THRESHOLD` and `VOICE_MARGIN` are tuned to the network, too.
    """

    folder: Path  # with `NAME.onnx`, `telephone.npy` and `whitening.npy`
    features: bytes  # increment it when code changes the features, or how a speaker's embedding is computed
    dimension: int  # number of values in an embedding
    is_telephone: float  # an original and its simulated telephone audio are this similar if it is from a telephone
    # Recordings
    max_linkage: float  # largest average distance between the embeddings of one cluster
    max_centroid_distance: float  # largest distance between the centroids of two clusters of one speaker
    max_centroid_distance_in_channel: float  # the same in one of several channels, which mostly has one speaker
    min_split_distance: float  # smallest distance between centroids of clusters that are split to get more speakers
    uncertain_frames: float  # the distance of a centroid of n frames is overestimated by this number / n
    split_uncertain_frames: float  # the same, for the shorter of two clusters that may be split
    whitened_distance: float  # by how much larger distances of whitened embeddings of one person may be
    change_cost: float  # of another speaker while a local speaker speaks
    change_cost_after_pause: float
    same_speaker_cost: float  # for a second in which two active local speakers are assigned to one speaker
    min_echo_similarity: float  # of a speaker to the same one, whom another channel has as an echo
    # Live audio; seconds in windows, which overlap: at full bandwidth, and on telephones
    min_new_s: tuple[float, float]  # that a new label needs
    enough_s: tuple[float, float]  # a cluster with less, and the similarity `similar` to a speaker, is that speaker
    similar: float
    merge_similarity: float  # least similarity of two labels of one person
    merge_similarity_in_channel: float  # the same in one of several channels, which mostly has one speaker
    unknown_similarity: float  # speech that is less similar to every speaker has no label
    # Voices by name
    min_agreement: float  # of the embeddings of one person, who may be enrolled or named live; two people agree less
    min_whitened_agreement: float  # the same of whitened embeddings, which are compared only from here on
    telephone_bias: float  # by how much telephones make strangers more similar

    @property
    def weights(self) -> list[Path]:
        """The files of the network and of the telephone directions, on which its embeddings depend."""
        return [self.folder / f"{self.folder.name}.onnx", self.folder / "telephone.npy"]

    @cached_property
    def model(self) -> Model:
        """The name and the revision of the network: only embeddings of the same revision can be compared."""
        contents = [path.read_bytes() for path in self.weights]
        return Model(name=self.folder.name, revision=sha256(b"".join([self.features, *contents])).hexdigest()[:12])

    @cached_property
    def whitening(self) -> "npt.NDArray[np.float32]":
        """The matrix with which to multiply embeddings of real or simulated telephone audio to compare them.

        Within-class covariance normalization (Hatch 2006) scales down the directions in which embeddings of one person
        vary most, from word to word and from telephone to telephone. Stored embeddings are not multiplied. The shape is
        (dimension, dimension); the matrix is symmetric.
        """
        import numpy as np  # noqa: PLC0415 -- only engine processes load it, but workers read the thresholds

        matrix: npt.NDArray[np.float32] = np.load(self.folder / "whitening.npy").astype(np.float32)
        return matrix
