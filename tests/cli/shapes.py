"""Answers of the API as the command line gets them."""

from typing import Any

COUNTERS = {
    "pending": 380,
    "dispatched": 3,
    "in_flight": 17,
    "retrying": 120,
    "completed": 400,
    "failed": 20,
    "busy": 25,
    "no_answer": 30,
    "voicemail": 0,
    "skipped": 2,
    "followup_scheduled": 0,
    "max_retries_reached": 3,
}


def batch(status: str = "in_progress", **changes: Any) -> dict[str, Any]:
    return {
        "batch_id": "btc_5rBL7SZke20LxgOBlS8ExY",
        "campaign_id": "cmp_0Lm3xPq9VtKc2RZs8YhWd4",
        "status": status,
        "total_contacts": 1000,
        "counters": COUNTERS,
        "rejected": [],
        "rejected_count": 0,
        **changes,
    }


def debug(status: str = "in_progress", **changes: Any) -> dict[str, Any]:
    return {
        "batch_id": "btc_5rBL7SZke20LxgOBlS8ExY",
        "status": status,
        "status_breakdown": {"pending": {"count": 380}},
        "pending_sample": [],
        "diagnostics": {
            "stuck_pending": False,
            "tip": "No worker is running.",
            "verdict": "blocked",
            "reasons": [
                {
                    "code": "no_worker_alive",
                    "layer": "pipeline",
                    "severity": "critical",
                    "contacts": 380,
                    "since": "2026-05-10T09:01:00Z",
                    "until": None,
                    "evidence": {"last_seen": "host-1 [red], process 4711"},
                    "fix": "No worker is running. Start one: `apollo worker`.",
                    "help": "/docs/reasons#no_worker_alive",
                },
                {
                    "code": "retry_not_due",
                    "layer": "contact",
                    "severity": "info",
                    "contacts": 120,
                    "since": None,
                    "until": "2026-05-10T09:30:00Z",
                    "evidence": {},
                    "fix": "Nothing to do.",
                    "help": "/docs/reasons#retry_not_due",
                },
            ],
            "accounting": {
                "unfinished": 520,
                "on_call": 20,
                "dialable_now": 0,
                "by_reason": {"no_worker_alive": 380, "retry_not_due": 120},
            },
            "limits": [{"name": "batch", "limit": 20, "in_use": 20, "free": 0}],
            "next_dial_at": None,
            "estimated_finish_at": None,
            "estimate_is_at_least": False,
            "not_reached_by_end": None,
            "warnings": [],
            "as_of": "2026-05-10T09:05:00Z",
            "stale_inputs": ["processes"],
            **changes,
        },
    }
