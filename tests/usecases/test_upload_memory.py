"""An upload costs the same memory at any size."""

import asyncio
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


async def test_ten_times_the_rows_take_no_more_memory(database_url: str) -> None:
    script = ROOT / "tests" / "usecases" / "upload_memory.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        database_url,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    # The file has 56 MiB. What does grow are buffers on the way to PostgreSQL and SQLite's cache.
    assert int(out) < 12
