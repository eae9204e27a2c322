"""From which frame a live task is read again."""

import pytest
from natscribe.schemas.live import Codec, LiveAudio

from app.speech.live.frame_offsets import FrameOffset, FrameOffsets

PCM, MULAW = LiveAudio(sample_rate=8000), LiveAudio(codec=Codec.MULAW, sample_rate=8000)
OPUS = LiveAudio(codec=Codec.OPUS, sample_rate=48_000)


def passed(audio: LiveAudio, seconds: int, a_second: int) -> FrameOffsets:
    """The offsets of a stream with a frame a second."""
    offsets = FrameOffsets(audio, FrameOffset())
    for second in range(1, seconds + 1):
        offsets.add(FrameOffset(10 * second, second, second * a_second))
    return offsets


@pytest.mark.parametrize(("audio", "a_second"), [(PCM, 16_000), (MULAW, 8000)])
def test_the_offset_is_the_last_one_that_is_early_enough(audio: LiveAudio, a_second: int) -> None:
    # Given a stream of an hour, when its text has reached its last second
    offsets = passed(audio, 3600, a_second)
    offsets.drop_before(3599.5)
    # Then its audio is read from half a minute before on
    assert offsets.first == FrameOffset(35_630, 3563, 3563 * a_second)
    assert offsets.seconds(offsets.first) == 3563


def test_opus_is_processed_from_its_start() -> None:
    offsets = passed(OPUS, 3600, 4000)
    offsets.drop_before(3599)
    assert offsets.first == FrameOffset()


def test_offsets_that_are_passed_again_are_the_same() -> None:
    # Given a reader that is far, and whose text has reached the second 100
    offsets = passed(PCM, 200, 16_000)
    offsets.drop_before(100)
    assert offsets.first == FrameOffset(640, 64, 64 * 16_000)
    # When another worker continues from there, and passes the same offsets and some more
    for second in range(65, 301):
        offsets.add(FrameOffset(10 * second, second, second * 16_000))
    # Then each is found when the text gets there
    for second in (110, 230, 299):
        offsets.drop_before(second)
        at = second - 36
        assert offsets.first == FrameOffset(10 * at, at, at * 16_000)


def test_an_offset_is_parsed_from_its_text() -> None:
    offset = FrameOffset(5, 3, 20_000)
    assert FrameOffset.parse(str(offset)) == offset


@pytest.mark.parametrize("text", [None, "", "1 2", "1 2 3 4 5", "-1 2 3", "a b c", "² 1 1"])
def test_what_nobody_has_written_is_the_begin(text: str | None) -> None:
    assert FrameOffset.parse(text) == FrameOffset()
