"""Can this process answer requests? The database is there and has the schema we were built for."""

from dataclasses import dataclass

from apollo.errors import ApolloError
from apollo.storage.database import Database
from apollo.storage.migrations import schema_version, schema_version_wanted


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether requests can be answered, and if not, what to do."""

    is_ready: bool
    database: str
    schema_found: int | None
    schema_wanted: int


class CheckReadiness:
    """Checks database and schema; reads only."""

    def __init__(self, *, db: Database) -> None:
        self._db = db

    async def check(self) -> Readiness:
        """Look once; never raises."""
        wanted = schema_version_wanted()
        try:
            async with self._db.connection() as connection:
                found = await schema_version(connection)
        except ApolloError:
            return Readiness(
                is_ready=False, database="does not answer", schema_found=None, schema_wanted=wanted
            )
        if found != wanted:
            todo = "run apollo migrate" if found < wanted else "upgrade this process"
            text = f"answers, but its schema is another version: {todo}"
            return Readiness(
                is_ready=False, database=text, schema_found=found, schema_wanted=wanted
            )
        return Readiness(is_ready=True, database="ok", schema_found=found, schema_wanted=wanted)
