"""The embedded PostgreSQL of a test or a benchmark, which may do more than a customer's."""

import asyncpg


async def promote(url: str) -> None:
    """Make Apollo's role a superuser, for what only one may: checkpoints, settings, statistics."""
    operator = await asyncpg.connect(url.replace("//apollo@", "//postgres@"))
    try:
        await operator.execute("alter role apollo superuser")
    finally:
        await operator.close()
