"""What a worker imports: each module takes memory and time of every start."""

import subprocess
import sys


def test_a_worker_starts_without_numpy() -> None:
    # Given that audio is processed in processes of their own, when the application is imported
    command = [sys.executable, "-c", "import app.main, sys; print(*sys.modules)"]
    modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    # Then what processes audio is not loaded into the worker
    assert "app.container" in modules
    assert not {"numpy", "av", "onnxruntime", "faster_whisper"} & set(modules)
