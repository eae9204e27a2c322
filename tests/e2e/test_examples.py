"""The first clients of the documentation, with a real worker and real speech."""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from struct import pack
from uuid import uuid4

import av
import numpy as np
import pytest

from tests.e2e.conftest import LIBRIVOX, ROOT, TWO_READERS, Running
from tests.programs import BIN, EXAMPLES, line_with, output, started
from tests.truth.recordings import RATE, Samples, channels_of, read, write

pytestmark = pytest.mark.xdist_group("service")

CLIP = LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0930.flac"


def has_the_text(printed: str) -> bool:
    """Whether nearly all words of the clip are there: one of them may be another on another processor."""
    reference_words = CLIP.with_suffix(".txt").read_text(encoding="utf-8").split()
    return len(set(reference_words) & set(re.findall(r"\w+", printed.lower()))) >= len(reference_words) - 2


def telephone_audio(samples: Samples, codec: str) -> Iterator[bytes]:
    """Samples as a telephone sends them: 8 kHz, 20 ms at a time."""
    encoder = av.CodecContext.create("pcm_mulaw" if codec == "mulaw" else codec, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = 8000, "mono", "s16"
    resampler = av.AudioResampler(format="s16", layout="mono", rate=8000, frame_size=160)
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout="mono")
    frame.sample_rate = RATE
    for part in resampler.resample(frame):
        yield from (bytes(packet) for packet in encoder.encode(part))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The Node example as it is after `npm install`."""
    folder = tmp_path / "node"
    shutil.copytree(EXAMPLES / "node", folder, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (folder / "node_modules").symlink_to(ROOT / "tools/node/node_modules")
    return folder


@pytest.fixture
def no_recording(tmp_path: Path) -> Path:
    """A file that cannot be decoded."""
    file = tmp_path / "notes.flac"
    file.write_text("This is not audio.", encoding="utf-8")
    return file


@pytest.mark.parametrize(("client", "end"), [("first", "completed None 100 %"), ("typed", "completed 100 %")])
async def test_a_first_client_transcribes(service: Running, client: str, end: str) -> None:
    printed = await output(service.settings.nats_url, BIN / "python", f"{client}_client.py", CLIP)
    assert end in printed
    assert has_the_text(printed)


@pytest.mark.parametrize(
    "client", ["first_client.py", "typed_client.py", "live_speakers.py", "voices_by_name.py", "audiosocket.py"]
)
def test_a_client_without_arguments_prints_how_to_run_it(client: str) -> None:
    run = subprocess.run([BIN / "python", EXAMPLES / client], capture_output=True, text=True, check=False)
    assert (run.returncode, f"`python {client} " in run.stderr, "Traceback" in run.stderr) == (1, True, False)


async def test_somebody_who_is_enrolled_is_named_in_another_recording(service: Running) -> None:
    # Given a recording of one person, and a conversation in which she speaks with another person
    recordings = ROOT / "tests/recordings"
    arguments = (recordings / "speech/prompts-en.flac", "Allison", recordings / "talk/two-women.ogg")
    printed = await output(service.settings.nats_url, BIN / "python", "voices_by_name.py", *arguments)
    # Then she is named, and the other one is not
    assert "Allison is the voice " in printed
    speakers = {line.split(":")[0] for line in printed.splitlines() if line.startswith(("Allison: ", "SPEAKER_"))}
    assert speakers in ({"Allison", "SPEAKER_00"}, {"Allison", "SPEAKER_01"})


async def test_the_client_of_the_readme_prints_who_says_what(service: Running, tmp_path: Path) -> None:
    # Given the client with speakers in the package's README
    readme = (ROOT / "clients/python/README.md").read_text(encoding="utf-8")
    (client,) = (
        snippet for snippet in re.findall(r"```python\n(.*?)```", readme, re.DOTALL) if "diarize=True" in snippet
    )
    (tmp_path / "who.py").write_text(client, encoding="utf-8")
    # When a recording of two readers is transcribed, then each line has its time and its speaker, and both speak
    printed = await output(service.settings.nats_url, BIN / "python", tmp_path / "who.py", TWO_READERS)
    lines = [re.fullmatch(r" +\d+\.\d s  (SPEAKER_\d\d): .+", line) for line in printed.splitlines()]
    assert {line and line[1] for line in lines} == {"SPEAKER_00", "SPEAKER_01"}


async def test_speakers_are_printed_while_they_speak(service: Running, tmp_path: Path) -> None:
    # Given the beginning of a recording, in which two people read
    write(tmp_path / "call.wav", [channels_of(TWO_READERS)[0][: 12 * RATE]])
    # When it is played as live audio
    printed = await output(service.settings.nats_url, BIN / "python", "live_speakers.py", tmp_path / "call.wav")
    # Then both are in segments or in later corrections
    lines = re.findall(r"^(?: *\d+\.\d s  |from .+ s: )(SPEAKER_\d\d)", printed, re.MULTILINE)
    assert set(lines) == {"SPEAKER_00", "SPEAKER_01"}


@pytest.mark.parametrize(
    ("codec", "kind", "copies"), [("pcm_s16le", 0x10, 1), ("mulaw", 0x10, 1), ("pcm_s16le", 0x17, 12)]
)
async def test_a_telephone_call_is_printed_while_it_lasts(service: Running, codec: str, kind: int, copies: int) -> None:
    # Given the example, and a call in the format of Asterisk, at 8 or 96 kHz
    options = ["ulaw"] if codec == "mulaw" else []
    frames = [b"".join(_samples(audio, copies)) for audio in telephone_audio(read(CLIP), codec)]
    call, packets = uuid4(), [pack(">BH", kind, len(audio)) + audio for audio in frames]
    async with started(service.settings.nats_url, BIN / "python", "audiosocket.py", "0", *options) as program:
        port = int((await line_with(program, "waiting for calls")).split()[-1])
        # When it comes: its id, then packets of 20 ms as they are spoken, then the end
        _, calling = await asyncio.open_connection("127.0.0.1", port)
        calling.write(pack(">BH", 0x01, 16) + call.bytes)
        for packet in packets:
            calling.write(packet)
            await asyncio.sleep(0.02)
        # Then its text is printed, with its id, once the caller presses #, before the call ends
        calling.write(pack(">BH", 0x03, 1) + b"#")
        lines = [await line_with(program, f"{call} ")]
        assert "has ended" not in lines[0]
        calling.write(pack(">BH", 0x00, 0))
        while "has ended" not in lines[-1]:
            lines.append(await line_with(program, f"{call} "))
        calling.close()
    assert has_the_text(" ".join(lines))


def _samples(audio: bytes, copies: int) -> Iterator[bytes]:
    """The samples of 16 bits, each so many times; with one copy the audio as it is."""
    size = len(audio) if copies == 1 else 2
    yield from (audio[start : start + size] * copies for start in range(0, len(audio), size))


async def test_the_node_client_compiles_strictly_and_transcribes(
    service: Running, project: Path, no_recording: Path
) -> None:
    nats_url, node = service.settings.nats_url, BIN / "node"
    await output(nats_url, node, "node_modules/.bin/tsc", cwd=project)
    printed = await output(nats_url, node, "dist/transcribe.js", CLIP, cwd=project)
    assert "completed null 100 %" in printed
    assert has_the_text(printed)
    # And a task that fails ends it as a failed program, with the reason
    async with started(nats_url, node, "dist/transcribe.js", no_recording, cwd=project) as program:
        assert "audio_unreadable" in await line_with(program, '"error"')
        assert await program.wait() == 1


@pytest.mark.parametrize("client", ["first_client.py", "typed_client.py"])
async def test_a_failed_task_ends_a_first_client_with_one(service: Running, client: str, no_recording: Path) -> None:
    async with started(service.settings.nats_url, BIN / "python", client, no_recording) as program:
        await line_with(program, "damaged or not an audio file" if client.startswith("typed") else '"error"')
        assert await program.wait() == 1
