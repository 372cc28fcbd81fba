"""Whose turn it is: organisations one after the other, and the campaigns of each in order.

One organisation with a hundred campaigns gets as many turns as one with a single campaign. It holds
ids and nothing else; whose a campaign is it learns from whoever has looked.
"""

import uuid
from collections.abc import Iterable

# Campaigns whose organisation nobody has learnt yet stand together, as if it were one.
_UNKNOWN = ""


class Turns:
    """Campaigns that wait for a turn."""

    def __init__(self) -> None:
        # Organisations in the order of their turns, each with its campaigns in theirs.
        self._waiting: dict[str, dict[uuid.UUID, None]] = {}
        self._organizations: dict[uuid.UUID, str] = {}

    def __bool__(self) -> bool:
        """Tell whether anybody waits."""
        return bool(self._waiting)

    def add(self, campaigns: Iterable[uuid.UUID]) -> None:
        """Let campaigns wait for a turn; one that waits already keeps its place."""
        for campaign_id in campaigns:
            organization = self._organizations.get(campaign_id, _UNKNOWN)
            self._waiting.setdefault(organization, {})[campaign_id] = None

    def take(self) -> uuid.UUID:
        """Take the next campaign; its organisation goes to the end of the line."""
        organization, campaigns = next(iter(self._waiting.items()))
        campaign_id = next(iter(campaigns))
        del campaigns[campaign_id]
        del self._waiting[organization]
        if campaigns:
            self._waiting[organization] = campaigns
        return campaign_id

    def learn(self, campaign_id: uuid.UUID, organization: str) -> None:
        """Learn whose a campaign is; it stands with the others of its organisation from now on."""
        before = self._organizations.get(campaign_id, _UNKNOWN)
        self._organizations[campaign_id] = organization
        waiting = self._waiting.get(before, {})
        if before != organization and campaign_id in waiting:
            del waiting[campaign_id]
            if not waiting:
                del self._waiting[before]
            self.add([campaign_id])
