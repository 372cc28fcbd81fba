"""PostgreSQL's disk is full for a while; then there is room again, and everything goes on."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.machine import until
from tests.e2e.runs import under_fire

from apollo import embedded

# The schema, a few segments of the write-ahead log, and some megabytes for the batch.
SIZE = "160m"


@pytest.fixture
def small_disk(data_dir: Path) -> Iterator[Path]:
    """A data directory on a disk of its own, which a test can fill."""
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(data_dir)],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"a disk of its own needs the right to mount one: {made.stderr.strip()}")
    try:
        yield data_dir
    finally:
        embedded.stop(data_dir)
        # Lazily: a session of the server may take a moment to notice its end.
        subprocess.run(["umount", "--lazy", str(data_dir)], check=True)


def fill(disk: Path) -> Path:
    """Take every free byte."""
    ballast = disk / "ballast"
    file = os.open(ballast, os.O_CREAT | os.O_WRONLY)
    try:
        # What the server takes meanwhile is gone as well.
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while os.write(file, bytes(size)) == size:
                    pass
    finally:
        os.close(file)
    assert shutil.disk_usage(disk).free == 0
    return ballast


async def test_a_full_disk_stops_the_dialling_and_room_starts_it_again(
    small_disk: Path, tmp_path: Path
) -> None:
    embedded.ensure_running(small_disk, {"max_wal_size": "32MB", "wal_recycle": "off"})
    async with under_fire(300, seed=11, logs=tmp_path, data_dir=small_disk) as run:
        run.start("serve", quick=False)
        run.start("worker", quick=False)
        await run.until_ready()
        await run.create()
        await run.until_placed(0.1)
        ballast = fill(small_disk)

        async def is_felt() -> bool:
            return run.apollo.log("serve").count("webhook.not_stored") >= 10

        await until(is_felt, "the disk full")
        requests = run.jambonz.requests
        ballast.unlink()
        await asyncio.to_thread(embedded.ensure_running, small_disk)
        took_s = await run.until_dialling()
        print(f"dialled again after {took_s:.1f} s, {requests} requests before")
        await run.until_completed()
        assert await run.check() == 0
        await run.audit()
        assert run.apollo.surprises() == []
