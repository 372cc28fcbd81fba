"""Several named readings in one statement, so that a database far away is asked once.

Each stands in the SQL file by itself and is put into a list of objects as it is. Must never change
what a reading says.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from apollo.storage.database import Connection, Query

_LIST: Final = "(select coalesce(jsonb_agg(to_jsonb(r)), '[]') from ({body}) as r)"


class Together:
    """Readings that are asked for in one statement."""

    def __init__(self, queries: Sequence[Query]) -> None:
        lists = (f"'{query.name}', {_LIST.format(body=query.body)}" for query in queries)
        self._query = Query("together", f"select jsonb_build_object({', '.join(lists)})")

    async def read(
        self, connection: Connection, given: Mapping[str, Any]
    ) -> dict[str, list[dict[str, Any]]]:
        """Give the rows of each by its name, as JSON has them; takes what it needs of `given`."""
        needed = {name: given[name] for name in self._query.params}
        found: dict[str, list[dict[str, Any]]] = await self._query.value(connection, **needed)
        return found
