"""The TypeScript compiler, which checks files of deploy/ against the types of other projects."""

import subprocess
from pathlib import Path

from tests.document import ROOT
from tests.programs import BIN

_MODULES = ROOT / "tools/node/node_modules"
_OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--module", "esnext", "--moduleResolution", "bundler")


def compiler_errors(folder: Path, types: Path, source: str) -> str:
    """What the compiler reports of a source that imports `types`; `folder` is for its files."""
    assert _MODULES.is_dir(), "run: make setup"
    (folder / "node_modules").symlink_to(_MODULES)
    (folder / types.name).write_bytes(types.read_bytes())
    (folder / "check.ts").write_text(source, encoding="utf-8")
    command: list[Path | str] = [BIN / "node", _MODULES / ".bin/tsc", *_OPTIONS, "check.ts"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder).stdout
