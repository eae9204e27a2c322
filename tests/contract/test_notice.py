"""What others have made and lies here is named in NOTICE, as it is."""

import hashlib

from tests.document import ROOT

RECORDINGS = ROOT / "tests/recordings"


def test_every_recording_and_its_truth_is_the_one_of_the_notice() -> None:
    # Given all files of the recordings, and the lines of NOTICE that have a hash
    files = [path for path in RECORDINGS.rglob("*") if path.is_file() and path.name != "README.md"]
    present = {(hashlib.sha256(file.read_bytes()).hexdigest(), str(file.relative_to(ROOT))) for file in files}
    lines = [line.split() for line in (ROOT / "NOTICE").read_text(encoding="utf-8").splitlines()]
    named = {(line[0], line[1]) for line in lines if len(line) == 2 and line[1].startswith("tests/recordings/")}
    # Then they are the same
    assert named == present


def test_the_script_of_others_is_the_one_of_the_notice() -> None:
    # Given the NATS client of the page that records a microphone
    script = ROOT / "web/nats.js"
    # Then NOTICE has its hash
    named = f"{hashlib.sha256(script.read_bytes()).hexdigest()}  {script.relative_to(ROOT)}"
    assert named in (ROOT / "NOTICE").read_text(encoding="utf-8")
