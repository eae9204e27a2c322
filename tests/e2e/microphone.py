"""What a visit to the tab of the page that records a microphone leaves behind, and what it shows."""

import io
import re

import av
from nats.js import JetStreamContext
from natscribe.schemas.headers import END

from tests.colours import contrast

READABLE = 4.5  # the contrast that WCAG requires


def check_colours(*colours: str) -> None:
    """Check that firm words are more distinct than the others, and all are readable, given as `rgb(0, 0, 0)`."""
    firm, open_, paper = (list(map(int, re.findall(r"\d+", colour))) for colour in colours)
    assert contrast(firm, paper) > contrast(open_, paper) > READABLE


async def stored_in(js: JetStreamContext) -> bytes:
    """The audio of the only live task, whose frames have no gap and are stored once."""
    state = (await js.stream_info("transcription_live")).state
    frames = [await js.get_msg("transcription_live", number) for number in range(state.first_seq, state.last_seq + 1)]
    (task_id,) = {(frame.subject or "").rpartition(".")[2] for frame in frames}
    headers = [frame.headers or {} for frame in frames]
    assert [header["Nats-Msg-Id"] for header in headers] == [f"{task_id}-{number}" for number in range(len(frames))]
    assert [END in header for header in headers] == [False] * (len(frames) - 1) + [True]
    return b"".join(frame.data or b"" for frame in frames)


def seconds_of(encoded: bytes) -> float:
    with av.open(io.BytesIO(encoded), "r") as container:
        (stream,) = container.streams.audio
        assert (stream.codec_context.name, stream.channels) == ("opus", 1)
        return sum(float(frame.samples / frame.sample_rate) for frame in container.decode(stream))


def recorded(lags: list[str]) -> float:
    """The seconds that the page has shown last."""
    minutes, _, seconds = lags[-1].partition(",")[0].partition(":")
    return 60 * int(minutes) + int(seconds)
