r"""Make conversations of real voices with their truth: who says what, from when until when.

Announcers whose sentences were never meant as a conversation take turns of .6 s and more; ``talk_scenes.py`` says how.
The announcements are Debian's (``tests/recordings/README.md`` has their origin and licences); the texts are those of
the packages ``asterisk-core-sounds-*``, and a conversation with a voice that has no texts is written without words.
``choose`` and ``check`` have other sentences and mostly other pairs of voices. All random choices are seeded: the same
packages give the same conversations.

    apt-get download asterisk-core-sounds-{en,es,fr,it,ru}{,-g722} \
        asterisk-prompt-{de,es-co,fr-armelle,it-menardi-wav} pocketsphinx-testdata
    for package in *.deb; do dpkg -x $package sounds; done
    pip download --no-deps moonshine-voice==0.0.73 && unzip -q moonshine_voice-*.whl "moonshine_voice/assets/*.wav"
    python tools/make_talk.py sounds/usr/share tests/recordings/talk
    python tools/make_talk.py sounds/usr/share hard --hard --moonshine moonshine_voice/assets \
        --pocketsphinx sounds/usr/share/pocketsphinx/test/data
"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from zlib import crc32

import av
import numpy as np
from announcers import Sentence, Voices
from av.audio.stream import AudioStream
from make_calls import telephone
from make_conversations import RATE, Samples, readings
from talk_scenes import HALVES, REPOSITORY, Scene

WORD = (0.25, 0.8)  # seconds of a single word, said while another person speaks
LISTENED_TO = 2.0  # seconds of a sentence during which somebody may say a word
CHANGES = 0.85  # probability that the speaker changes after a turn
INTERRUPTS = (0.2, 0.9)  # seconds by which two turns overlap
DRIFTS = 40.0  # seconds in which a person gets louder and quieter once
LOUDNESS = 0.06  # root mean square
BIT_RATE = 32_000
CODECS = {".flac": ("flac", "s16"), ".ogg": ("libopus", "flt"), ".wav": ("pcm_mulaw", "s16")}


@dataclass(frozen=True)
class Placed:
    """A sentence at its time, in seconds."""

    start: float
    voice: str
    sentence: Sentence


def conversation(scene: Scene, voices: Voices, chance: random.Random) -> list[Placed]:
    """Have people talk."""
    says = {name: cycle(between(voices.of(name), scene.lengths)) for name in scene.people}
    nods = {name: cycle(between(voices.of(name), WORD) or [None]) for name in scene.people}
    placed: list[Placed] = []
    ended, before = 0.5, ""
    while ended < scene.seconds:
        others = [name for name in scene.people if name != before] or list(scene.people)
        name = chance.choice(others) if not before or chance.random() < CHANGES else before
        clock = ended + chance.uniform(*scene.pauses)
        if before not in {"", name} and chance.random() < scene.overlaps:
            clock = ended - min(chance.uniform(*INTERRUPTS), placed[-1].sentence.seconds / 2)
        sentence = next(says[name])
        if sentence.seconds > LISTENED_TO and chance.random() < scene.listens:
            listener = chance.choice([other for other in scene.people if other != name])
            if word := next(nods[listener]):
                placed.append(Placed(clock + chance.uniform(0.3, 0.6) * sentence.seconds, listener, word))
        placed.append(Placed(clock, name, sentence))
        ended, before = clock + sentence.seconds, name
    return placed


def between(sentences: list[Sentence], lengths: tuple[float, float]) -> list[Sentence]:
    """Choose the sentences of such a length, in seconds."""
    return [each for each in sentences if lengths[0] <= each.seconds <= lengths[1]]


def sound_of(scene: Scene, placed: list[Placed], chance: np.random.Generator) -> Samples:
    """Mix the sentences, each with its loudness, then add what makes them hard to hear."""
    sound = np.zeros(int((max(each.start + each.sentence.seconds for each in placed) + 0.5) * RATE), np.float32)
    steps = dict(zip(chance.permutation(scene.people), np.linspace(0, -scene.apart, len(scene.people)), strict=True))
    for each in placed:
        drift = scene.drift / 2 * (np.sin(2 * np.pi * each.start / DRIFTS) - 1)
        loudness = LOUDNESS * 10 ** ((steps[each.voice] + drift) / 20)
        offset, samples = int(each.start * RATE), each.sentence.sound
        gain = np.float32(loudness / max(float(np.sqrt(np.mean(samples**2))), 1e-4))
        sound[offset : offset + len(samples)] += samples * gain
    if scene.echo:
        sound = echoing(sound, scene.echo, chance)
    noise = chance.standard_normal(len(sound)) * np.sqrt(np.mean(sound**2)) * 10 ** (-scene.noise / 20)
    sound = np.asarray(sound + noise, np.float32)
    return telephone(sound) if scene.line else sound


def echoing(sound: Samples, seconds: float, chance: np.random.Generator) -> Samples:
    """Add the echo of a room in which a sound fades by 60 dB in so many seconds; it is 8 dB below the sound."""
    length = int(seconds * RATE)
    tail = chance.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail *= 10 ** (-8 / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    size = len(sound) + length
    echo = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)
    return np.asarray(echo[: len(sound)], np.float32)


def truth(placed: list[Placed]) -> list[dict[str, object]]:
    """Say who speaks when, and what, if all texts are known."""
    told = all(each.sentence.text for each in placed)
    return [
        {
            "speaker": each.voice.split()[0],
            "start": round(each.start, 2),
            "end": round(each.start + each.sentence.seconds, 2),
            **({"words": each.sentence.text} if told else {}),
        }
        for each in sorted(placed, key=lambda each: each.start)
    ]


def save(path: Path, sound: Samples, rate: int) -> None:
    """Write a sound as FLAC, as Opus or as WAV with mu-law."""
    codec, kind = CODECS[path.suffix]
    whole = sound.clip(-1, 1) if kind == "flt" else (sound.clip(-1, 1) * 32767).astype(np.int16)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, layout="mono")
        if not isinstance(stream, AudioStream):
            raise TypeError(stream)
        if path.suffix == ".ogg":
            stream.bit_rate = BIT_RATE
        frame = av.AudioFrame.from_ndarray(whole[np.newaxis], format=kind, layout="mono")
        frame.sample_rate = rate
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)


def write(folder: Path, scene: Scene, voices: Voices) -> None:
    """Make a conversation, and write its sound and its truth."""
    seed = crc32(f"{scene.name} {voices.half}".encode())
    placed = conversation(scene, voices, random.Random(seed))  # noqa: S311 -- no secret
    sound = sound_of(scene, placed, np.random.default_rng(seed))
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / f"{scene.name}{scene.suffix}", sound, RATE // 2 if scene.line else RATE)
    said = "[\n" + ",\n".join(json.dumps(each, ensure_ascii=False) for each in truth(placed)) + "\n]\n"
    (folder / f"{scene.name}.json").write_text(said, encoding="utf-8")
    print(f"{folder / scene.name}: {len(placed)} turns")


def main() -> None:
    """Write the conversations of the repository, or the hard ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("share", type=Path, help="the unpacked packages' folder usr/share")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--hard", action="store_true", help="write hard conversations instead, into choose and check")
    parser.add_argument("--pocketsphinx", type=Path, help="where the readings were unpacked, for --hard")
    parser.add_argument("--moonshine", type=Path, help="where more readings were unpacked, for --hard")
    asked = parser.parse_args()
    if not asked.hard:
        voices = Voices(asked.share, 0, {})
        for scene in REPOSITORY:
            write(asked.folder, scene, voices)
        return
    pieces = readings(asked.pocketsphinx, asked.moonshine)
    read = {name: [Sentence(piece.samples, None) for piece in said] for name, said in pieces.items()}
    for half, (name, scenes) in enumerate(HALVES.items()):
        voices = Voices(asked.share, half, dict(read))
        for scene in scenes:
            write(asked.folder / name, scene, voices)


if __name__ == "__main__":
    main()
