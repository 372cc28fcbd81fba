"""Whom a run calls: campaigns, batches and contacts, written as the API would leave them."""

import uuid
from datetime import datetime, timedelta
from typing import Final

from tests.simulation.lifecycle_statements import NEW_INSTALLATION
from tests.simulation.world import ORGANIZATIONS, World

NUMBERS: Final = [f"+9198765432{n:02d}" for n in range(10, 40)]
CALLER_IDS: Final = ["+919876500001", "+919876500002"]


def fill(world: World) -> None:
    """Put campaigns, batches and people into the database."""
    dice, tables = world.dice, world.server.tables
    now = world.clock_now()
    # Tenants of one installation share its provider account, and may call the same people.
    organizations = ORGANIZATIONS[: dice.choice((1, 1, 2))]
    for name in organizations:
        tables["organizations"][name] = {"id": name, "dialling_stopped_at": None}
    tables["installation"][True] = dict(NEW_INSTALLATION)
    few = dice.sample(NUMBERS, dice.choice((2, 4, 8)))
    for n in range(max(dice.choice((1, 1, 2)), len(organizations))):
        campaign_id = uuid.UUID(int=dice.getrandbits(128))
        tables["campaigns"][campaign_id] = {
            "id": campaign_id,
            "organization_id": organizations[n % len(organizations)],
            "agent_id": "agent_1",
            "phone_numbers": CALLER_IDS,
            "phone_number_strategy": dice.choice(("round_robin", "random", "least_loaded")),
            "working_hours": world.place.table(),
            "working_hours_enforced": world.place.is_enforced,
            "timezone": world.place.zone,
            "retry_policy": {
                "max_retries": dice.choice((0, 1, 2, 3)),
                "strategy": dice.choice(("fixed", "exponential")),
                "cooldown_minutes": dice.choice((0, 0, 1, 3)),
            },
            "max_follow_ups": dice.choice((0, 1, 1, 3)),
            "number_gap_minutes": dice.choice((None, 0, 0, 1, 5)),
            "concurrency_limit": dice.choice((1, 2, 3, 10)),
            "caller_ids_used": 0,
            "amd": False,
            "paused_at": None,
            "cancelled_at": None,
            "deleted_at": None,
            "updated_at": now,
        }
        for _ in range(dice.choice((1, 1, 2))):
            _fill_batch(world, campaign_id, few, now)


def _fill_batch(world: World, campaign_id: uuid.UUID, few: list[str], now: datetime) -> None:
    dice, tables = world.dice, world.server.tables
    batch_id = uuid.UUID(int=dice.getrandbits(128))
    total = dice.randint(1, 5)
    starts_at = now + timedelta(seconds=60) if dice.random() < 0.15 else None
    ends_at = now + timedelta(seconds=dice.uniform(70, 900)) if dice.random() < 0.15 else None
    tables["batches"][batch_id] = {
        "id": batch_id,
        "organization_id": tables["campaigns"][campaign_id]["organization_id"],
        "campaign_id": campaign_id,
        "status": "in_progress" if starts_at is None else "pending",
        "total_contacts": total,
        "concurrency_limit": dice.choice((None, 1, 2)),
        "max_retries_override": dice.choice((None, None, 1)),
        "scheduled_start": starts_at,
        "ends_at": ends_at,
        "paused_by": None,
        "pause_reason": None,
        "ready_at": now,
        "completed_at": None,
        "created_at": now,
        "updated_at": now,
    }
    tables["batch_cursors"][batch_id] = {"next_position": 1, "last_claimed_at": None}
    for position in range(1, total + 1):
        tables["contacts"][batch_id, position] = {
            "batch_id": batch_id,
            "position": position,
            # Few numbers for many contacts: the same person in several batches, or twice in one.
            "phone_number": dice.choice(few),
            "status": "pending",
            "wait_reason": None,
            "attempts": 0,
            "tries": 0,
            "retry_count": 0,
            "follow_up_count": 0,
            "carrier_failures": 0,
            "promises": 0,
            "is_withdrawn": False,
            "is_reached": False,
            "last_attempted_at": None,
            "updated_at": now,
        }
