"""The use-cases around `/debug` together: one contact, a batch's history, what would happen."""

from dataclasses import dataclass

from apollo.ports import Clock
from apollo.storage.database import Database
from apollo.usecases.explain_batch import ExplainBatch
from apollo.usecases.explain_contact import ExplainContact
from apollo.usecases.manage_campaigns import ManageCampaigns
from apollo.usecases.preview_campaign import PreviewCampaign
from apollo.usecases.read_history import ReadHistory


@dataclass(frozen=True, slots=True)
class Stories:
    """What tells a story around a diagnosis."""

    contact: ExplainContact
    history: ReadHistory
    preview: PreviewCampaign


def stories(
    db: Database, clock: Clock, explain: ExplainBatch, campaigns: ManageCampaigns
) -> Stories:
    """Put them together around one diagnosis."""
    return Stories(
        ExplainContact(db=db, explain=explain),
        ReadHistory(db=db, clock=clock),
        PreviewCampaign(
            db=db,
            clock=clock,
            campaigns=campaigns,
            ring_timeout=explain.settings.ring_timeout,
            calls_per_second=explain.settings.calls_per_second,
        ),
    )
