"""Files that need far more memory or time than their size suggests, built byte by byte."""

import struct
from pathlib import Path

from tests.audio import tone, write

RATE = 8000


def _atom(kind: str, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind.encode()) + body


def _table(kind: str, *entries: tuple[int, ...]) -> bytes:
    rows = b"".join(struct.pack(f">{len(entry)}I", *entry) for entry in entries)
    return _atom(kind, struct.pack(">II", 0, len(entries)), rows)


def _sound_track(samples: int, offset: int) -> bytes:
    """A track of `samples` samples of one byte, all in one chunk; each lasts two ticks, so each gets an index entry."""
    description = struct.pack(">I4s6xH8xHHHHI", 36, b"alaw", 1, 1, 16, 0, 0, RATE << 16)
    samples_table = _atom(
        "stbl",
        _atom("stsd", struct.pack(">II", 0, 1), description),
        _table("stts", (samples, 2)),
        _table("stsc", (1, samples, 1)),
        _atom("stsz", struct.pack(">III", 0, 1, samples)),
        _table("stco", (offset,)),
    )
    media = _atom(
        "mdia",
        _atom("mdhd", struct.pack(">IIIIIHH", 0, 0, 0, 2 * RATE, 0, 0, 0)),
        _atom("hdlr", struct.pack(">I4s4s13x", 0, b"mhlr", b"soun")),
        _atom("minf", samples_table),
    )
    return _atom("trak", _atom("tkhd", struct.pack(">IIII68x", 7, 0, 0, 1)), media)


def film_with_an_index(path: Path, samples: int = 40_000_000) -> None:
    """A film of less than 1 kB whose two audio tracks have 40 million samples each, in a table of one line."""
    head = _atom("ftyp", b"qt  ", bytes(4), b"qt  ")
    media_data = _atom("mdat", b"\xd5" * 16)
    tracks = [_sound_track(samples, len(head) + 8)] * 2
    header = _atom("mvhd", struct.pack(">IIIII80x", 0, 0, 0, 1000, 0))
    path.write_bytes(head + media_data + _atom("moov", header, *tracks))


def many_packets(path: Path, packets: int = 5_000_000) -> None:
    """A recording of one byte a packet: each says that there is no audio for 20 ms."""
    path.write_bytes(b"#!AMR\n" + b"\x7c" * packets)


def many_atoms(path: Path, atoms: int = 5_000_000) -> None:
    """A film of many empty atoms: the library reads all of them when it opens the file."""
    path.write_bytes(_atom("ftyp", b"qt  ", bytes(4), b"qt  ") + _atom("free") * atoms)


def large_picture(path: Path, size: int = 200 * 1024**2) -> None:
    """An MP3 without audio, with a picture of `size` bytes in its tags."""
    picture = b"APIC" + struct.pack(">I", size) + bytes(2) + b"\x00image/png\x00\x03\x00"
    length = bytes((size + 10) >> shift & 0x7F for shift in (21, 14, 7, 0))
    with path.open("wb") as file:
        file.write(b"ID3\x03\x00\x00" + length + picture)
        file.truncate(size + 20)


def many_tags(path: Path, tags: int = 100_000) -> None:
    """A recording with many tags: the library compares each with all before it, and does not return for minutes."""

    def element(identifier: str, body: bytes) -> bytes:
        return bytes.fromhex(identifier) + b"\x01" + len(body).to_bytes(7, "big") + body

    tag = [element("67C8", element("45A3", b"%d" % number) + element("4487", b"-")) for number in range(tags)]
    content = write(path, tone(1), "libopus", rate=48_000).read_bytes()
    segment = bytes.fromhex("18538067")
    head, _, rest = content.partition(segment)
    of_any_length = b"\x01" + b"\xff" * 7
    path.write_bytes(head + segment + of_any_length + element("1254C367", element("7373", b"".join(tag))) + rest[8:])
