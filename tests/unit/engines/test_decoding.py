from pathlib import Path

import av
import numpy as np
import pytest
from natscribe.schemas.errors import ErrorCode

from app.engines.audio.decoding import COMPARED_S, chunks_at, decode, probe
from app.engines.audio.limits import Budget, Limit
from app.engines.audio.mixing import SAMPLE_RATE
from app.runtime.errors import PermanentError
from tests.audio import (
    NO_LIMIT,
    add_frame,
    load,
    strength,
    tone,
    wav,
    write,
    write_channels,
    write_film,
    write_mp3_without_duration,
)

FORMATS = [
    ("tone.wav", "pcm_s16le", 16_000, "mono"),
    ("eight_bit.wav", "pcm_u8", 8_000, "mono"),
    ("wide.wav", "pcm_s24le", 192_000, "stereo"),
    ("float.wav", "pcm_f32le", 44_100, "5.1"),
    ("tone.flac", "flac", 44_100, "stereo"),
    ("tone.mp3", "libmp3lame", 44_100, "stereo"),
    ("tone.m4a", "aac", 48_000, "stereo"),
    ("tone.aac", "aac", 16_000, "mono"),
    ("tone.ogg", "libopus", 48_000, "mono"),
    ("tone.webm", "libopus", 48_000, "stereo"),
    ("tone.mkv", "aac", 44_100, "mono"),
    ("tone.aiff", "pcm_s16be", 16_000, "mono"),
    ("tone.mpg", "mp2", 44_100, "stereo"),  # begins at half a second
]


def refused(path: Path, limit: Limit = NO_LIMIT) -> PermanentError:
    """The error for a recording that cannot be used; no message shows where it lies."""
    budget = Budget(limit)
    with pytest.raises(PermanentError) as caught:
        _ = [probe(path, budget), *decode(path, budget)]
    assert str(path.parent) not in str(caught.value)
    return caught.value


def measured(path: Path) -> list[float]:
    """The seconds and the channels that are found without decoding."""
    return list(probe(path, Budget(NO_LIMIT)))


def unreadable(path: Path) -> str:
    error = refused(path)
    assert error.detail.code is ErrorCode.AUDIO_UNREADABLE
    return error.detail.message


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), FORMATS, ids=[name for name, *_ in FORMATS])
def test_every_format_gives_the_same_audio(tmp_path: Path, name: str, codec: str, rate: int, layout: str) -> None:
    # Given three seconds of a tone in some format
    path = write(tmp_path / name, tone(3), codec, rate=rate, layout=layout)

    # When it is measured and decoded
    samples = load(path)

    # Then both find three seconds, and it is the tone
    assert measured(path) == [pytest.approx(3, abs=0.1), {"mono": 1, "stereo": 2, "5.1": 6}[layout]]
    assert len(samples) / SAMPLE_RATE == pytest.approx(3, abs=0.1)
    assert samples.dtype == np.float32
    assert loudest_frequency(samples) == pytest.approx(440, abs=2)


def loudest_frequency(samples: np.ndarray[tuple[int], np.dtype[np.float32]]) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * SAMPLE_RATE / len(samples))


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_the_audio_of_a_film_is_decoded(tmp_path: Path, name: str) -> None:
    # Given a film with a tone
    path = write_film(tmp_path / name, tone(3))

    # When it is decoded, then it is the tone
    assert measured(path) == [pytest.approx(3, abs=0.1), 1]
    assert loudest_frequency(load(path)) == pytest.approx(440, abs=2)


def test_one_voice_among_a_hundred_channels_is_loud_enough(tmp_path: Path) -> None:
    # Given a hundred channels of which one has audio
    (tmp_path / "many.wav").write_bytes(wav(tone(2), channels=100))

    # When they are mixed, then it is still there
    samples = load(tmp_path / "many.wav")
    assert loudest_frequency(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples).max() > 0.02


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("call.flac", "flac", 16_000),
        ("call.wav", "pcm_s16le", 8_000),
        ("eight_bit.wav", "pcm_u8", 16_000),
        ("wide.wav", "pcm_s24le", 48_000),
        ("call.m4a", "aac", 44_100),
        ("call.ogg", "libopus", 48_000),
    ],
)
def test_one_channel_is_that_channel_alone(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    # Given a recording with another tone on each channel
    path = write_channels(tmp_path / name, [tone(2, 440), tone(2, 1500)], codec, rate=rate)

    # When one channel is decoded
    for channel, (own, other) in enumerate([(440, 1500), (1500, 440)]):
        samples = load(path, channel)
        # Then it is as loud as it was, and the other one is not in it
        assert len(samples) / SAMPLE_RATE == pytest.approx(2, abs=0.1)
        assert strength(samples, own) == pytest.approx(0.3, rel=0.05)
        assert strength(samples, other) < 0.01
    # And mixed both are there
    mixed = load(path)
    assert min(strength(mixed, 440), strength(mixed, 1500)) > 0.1


def test_the_only_channel_is_all(tmp_path: Path) -> None:
    # Given a recording with one channel, when that is decoded, then it is the same as all of it
    path = write(tmp_path / "mono.flac", tone(2), "flac", rate=44_100)
    assert np.array_equal(load(path, 0), load(path))


@pytest.mark.parametrize(("name", "codec"), [("many.wav", "pcm_s16le"), ("many.m4a", "aac")])
def test_each_of_eight_channels_can_be_had(tmp_path: Path, name: str, codec: str) -> None:
    # Given eight channels, the last one with audio, in a codec that joins them or decodes each into a plane of its own
    channels = np.zeros((2 * SAMPLE_RATE, 8), np.float32)
    channels[:, 7] = tone(2)
    frame = av.AudioFrame.from_ndarray(channels.reshape(1, -1), format="flt", layout="7.1")
    with av.open(str(tmp_path / name), "w") as container:
        add_frame(container, frame, codec, rate=SAMPLE_RATE, layout="7.1")

    # When each is decoded, then only the last one has it
    assert measured(tmp_path / name) == [pytest.approx(2, abs=0.1), 8]
    loudest = [np.abs(load(tmp_path / name, channel)).max() for channel in range(8)]
    assert loudest == [pytest.approx(0, abs=0.02)] * 7 + [pytest.approx(0.3, abs=0.03)]


def test_pieces_are_small_however_long_the_recording(tmp_path: Path) -> None:
    # Given a minute and a half of audio
    path = write(tmp_path / "long.flac", tone(90), "flac")

    # When it is decoded, then it comes in pieces of less than a minute
    assert max(map(len, decode(path, Budget(NO_LIMIT)))) < 60 * SAMPLE_RATE


@pytest.mark.parametrize("promised", [0xFFFF_FFFF, 0x7FFF_FFFF, 0], ids=hex)
def test_a_header_without_an_end_is_not_believed(tmp_path: Path, promised: int) -> None:
    # Given a WAV as it is written to a pipe
    (tmp_path / "pipe.wav").write_bytes(wav(tone(2), promised=promised))

    # When it is measured, then what is there counts
    assert measured(tmp_path / "pipe.wav") == [pytest.approx(2), 1]
    assert len(load(tmp_path / "pipe.wav")) == 2 * SAMPLE_RATE


@pytest.mark.parametrize(("seconds", "promised", "whole"), [(9.2, 10, True), (8.8, 10, False), (98.5, 100, True)])
def test_a_recording_may_end_a_little_before_the_duration_in_its_header(
    tmp_path: Path, seconds: float, promised: int, whole: bool
) -> None:
    # Given a WAV that has less audio than its header promises
    path = tmp_path / "short.wav"
    path.write_bytes(wav(tone(seconds), promised=2 * promised * SAMPLE_RATE))

    # When it is measured, then a second or a fiftieth of it may be missing
    if whole:
        assert measured(path)[0] == pytest.approx(seconds)
    else:
        assert "of 10 s" in unreadable(path)


@pytest.mark.parametrize(
    ("name", "codec", "message"),
    [
        ("cut.wav", "pcm_s16le", "of 20 s"),
        ("cut.flac", "flac", "of 20 s"),
        ("cut.mp3", "libmp3lame", "of 20 s"),
        ("cut.m4a", "aac", ""),
        ("cut.mp4", "aac", ""),
        ("cut.webm", "libopus", ""),
    ],
)
def test_a_file_cut_short_is_refused(tmp_path: Path, name: str, codec: str, message: str) -> None:
    # Given the first half of a recording, when it is probed, then the error says how much is missing
    assert message in unreadable(halved(write(tmp_path / name, tone(20), codec, rate=48_000)))


def halved(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def test_an_mp3_without_a_duration_is_no_broken_promise(tmp_path: Path) -> None:
    # Given an MP3 whose duration can only be guessed
    path = write_mp3_without_duration(tmp_path / "guess.mp3", tone(20))

    # When its half is measured, then what is there counts
    assert measured(halved(path)) == [pytest.approx(10, abs=0.5), 1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"minutes of the meeting",
        b"RIFF\x00\x00\x00\x00WAVE",
        bytes(5000),
        wav(tone(2)).replace(b"\x10\0data", b"\0\0data"),
    ],
    ids=["empty", "text", "head", "zeros", "samples without bits"],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    # Given a file without audio, when it is read, then it is refused with advice
    (tmp_path / "meeting.wav").write_bytes(content)
    assert "upload it again" in unreadable(tmp_path / "meeting.wav")


def test_a_film_without_audio_is_refused(tmp_path: Path) -> None:
    # Given a film without audio, and a recording without a sample
    (tmp_path / "silent.wav").write_bytes(wav(tone(0)))

    # When they are read, then the message says so
    for path in (write_film(tmp_path / "silent.mp4", None), tmp_path / "silent.wav"):
        assert "contains no audio:" in unreadable(path)


PLAYLISTS = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile {name}\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{secret}</BaseURL></MPD>',
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_a_playlist_opens_nothing_else(tmp_path: Path, name: str) -> None:
    # Given a recording that a foreign playlist points to
    secret = write(tmp_path / "secret.ts", tone(2), "aac")
    (tmp_path / name).write_text(PLAYLISTS[name].format(secret=secret, name=secret.name))

    # When the playlist is handed in as a recording, then it is refused
    unreadable(tmp_path / name)


@pytest.mark.parametrize(
    ("seconds", "damaged", "whole"), [(0.6, 2, True), (0.6, 3, False), (4, 6, True), (4, 7, False)]
)
def test_two_packets_or_a_tenth_may_be_damaged(tmp_path: Path, seconds: float, damaged: int, whole: bool) -> None:
    # Given a recording of 10 or of 64 packets, some of which are damaged
    path = with_damage(write(tmp_path / "scratched.m4a", tone(seconds), "aac"), range(2, 2 + damaged))

    # When it is decoded, then the rest is there, or it is refused
    if whole:
        assert len(load(path)) / SAMPLE_RATE == pytest.approx(seconds, abs=0.5)
    else:
        assert "is damaged" in unreadable(path)


def with_damage(path: Path, packets: range) -> Path:
    with av.open(str(path)) as container:
        starts = [(packet.pos or 0, packet.size) for packet in container.demux(audio=0)]
    content = bytearray(path.read_bytes())
    for start, size in starts[packets.start : packets.stop]:
        content[start : start + size] = b"\xff" * size
    path.write_bytes(content)
    return path


def test_a_gap_in_the_time_stamps_is_silence(tmp_path: Path) -> None:
    # Given a recording whose audio pauses for seventy seconds
    path = delayed(write(tmp_path / "whole.mkv", tone(4), "pcm_s16le"), 70.0, since=2.0)

    # When it is decoded, then what comes after the gap comes seventy seconds later
    samples = load(path)
    assert len(samples) / SAMPLE_RATE == pytest.approx(74, abs=0.1)
    assert np.abs(samples[round(2.2 * SAMPLE_RATE) : round(71.8 * SAMPLE_RATE)]).max() == 0
    assert measured(path) == [pytest.approx(74, abs=0.1), 1]


def delayed(whole: Path, seconds: float, since: float) -> Path:
    """A recording of which the audio after a second has later time stamps."""
    path = whole.with_name(f"delayed-{whole.name}")
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.pts is None or packet.dts is None or packet.time_base is None:
                continue
            if packet.pts * packet.time_base >= since:
                packet.pts += round(seconds / packet.time_base)
                packet.dts = packet.pts
            packet.stream = stream
            target.mux(packet)
    return path


def test_a_limit_applies_whatever_the_header_contains(tmp_path: Path) -> None:
    # Given three seconds and a limit of two, when decoded, then the setting is named
    path = write(tmp_path / "tone.flac", tone(3), "flac")
    error = refused(path, Limit(2, "AUDIO_MAX_SECONDS"))
    assert error.detail.code is ErrorCode.AUDIO_TOO_LARGE
    assert "AUDIO_MAX_SECONDS" in error.detail.message


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [("call.mkv", "flac", 8_000), ("call.wav", "pcm_s16le", 8_000), ("call.mp3", "libmp3lame", 44_100)],
)
def test_a_chunk_is_of_its_offset(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    # Given a recording with another tone in each twelve seconds, other ones in the second channel, and in the container
    # that has time stamps late ones
    tones = [np.concatenate([tone(12, base + 200 * number) for number in range(3)]) for base in (300, 1500)]
    path = write_channels(tmp_path / name, tones, codec, rate=rate)
    path = delayed(path, 100.0, since=0.0) if path.suffix == ".mkv" else path

    # When chunks are taken in any order
    starts = [25.0, 1.0, 13.0]
    chunks_read = list(chunks_at(path, Budget(NO_LIMIT), 2, starts))

    # Then each has the audio of its offset and channel, and the wanted length
    pitches = [[round(loudest_frequency(channel), -1) for channel in channels] for channels in chunks_read]
    assert pitches == [[700, 1900], [300, 1500], [500, 1700]]
    assert {len(channel) for channels in chunks_read for channel in channels} == {COMPARED_S * SAMPLE_RATE}


@pytest.mark.parametrize(("damaged", "seconds"), [(9, COMPARED_S), (10, 5)])
def test_a_chunk_ends_where_its_recording_is_damaged(tmp_path: Path, damaged: int, seconds: float) -> None:
    # Given a recording with damage after five seconds, when a chunk is read, then ten damaged packets end it
    path = with_damage(write(tmp_path / "call.m4a", tone(12), "aac"), range(79, 79 + damaged))
    ((chunk,),) = chunks_at(path, Budget(NO_LIMIT), 1, [0.0])
    assert len(chunk) / SAMPLE_RATE == pytest.approx(seconds, abs=0.2)


def test_a_recording_shorter_than_a_chunk_is_read_whole(tmp_path: Path) -> None:
    path = write_channels(tmp_path / "short.flac", [tone(2), tone(2)], "flac")
    ((left, right),) = chunks_at(path, Budget(NO_LIMIT), 2, [0.0])
    assert (len(left), len(right)) == (2 * SAMPLE_RATE, 2 * SAMPLE_RATE)
