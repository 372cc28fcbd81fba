"""What never changes about the reasons that lie in our own processes, bus and database."""

from collections.abc import Mapping
from typing import Final

from apollo.core.reasons.codes import Layer, Reason, ReasonFacts, Severity

FACTS: Final[Mapping[Reason, ReasonFacts]] = {
    Reason.NO_WORKER_ALIVE: ReasonFacts(
        Layer.PIPELINE,
        Severity.CRITICAL,
        "No worker process has sent a heartbeat within 15 seconds, so nobody dials.",
        "No worker is running, so nobody is called. Start one: `apollo worker`; it takes up the"
        " work"
        " by itself. {last_seen}",
    ),
    Reason.WORKER_STUCK: ReasonFacts(
        Layer.PIPELINE,
        Severity.CRITICAL,
        "A worker sends heartbeats and does not work: its event loop hangs, or it takes no contacts"
        " though some could be dialled and slots are free.",
        "{who} lives and does not work: {what}. Restart that process; what it had claimed comes"
        " back by itself in 30 s.",
    ),
    Reason.VERSION_MISMATCH: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "Processes of different versions work on one database, or one was made for another schema"
        " than the database has.",
        "{what}. Bring every process to one version and restart it.",
    ),
    Reason.DB_READONLY: ReasonFacts(
        Layer.PIPELINE,
        Severity.CRITICAL,
        "The database takes no writes: it is a standby, or set read-only. Nothing can be claimed"
        " or recorded.",
        "The database takes no writes: {why}.",
    ),
    Reason.DB_DISK_FULL: ReasonFacts(
        Layer.PIPELINE,
        Severity.CRITICAL,
        "PostgreSQL says that there is no room left (SQLSTATE 53100). Nothing can be claimed or"
        " recorded.",
        "The disk of the database is full since {since}: {error}. Make room on it, on the"
        " database's"
        " machine (df -h); Apollo goes on by itself.",
    ),
    Reason.DB_LOCKS: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "Somebody holds a lock in the database that our processes wait for.",
        "Process {pid} of the database ({application}, {state} for {age}) holds a lock that"
        " {waiting:statement of ours waits|statements of ours wait} for. If it is not meant to, end"
        " it in psql: select pg_terminate_backend({pid});",
    ),
    Reason.DB_SLOW: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "The database takes long to answer: three claims within a minute over half a second each,"
        " or"
        " the readings of this page together. What a busy process of ours adds to it does not"
        " count.",
        "The database is slow: {what}. See on its machine what it waits for: disk (iostat -x 1),"
        " CPU"
        " (top), and what runs for long (psql: select pid, now() - xact_start, query from"
        " pg_stat_activity order by xact_start;).",
    ),
    Reason.POOL_EXHAUSTED: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "All connections of one of our processes to the database are in use, and requests wait for"
        " one.",
        "{who} needs more than its {size:connection} to the database: {waiting:request"
        " waits|requests wait} for one, the longest of the last minute {longest}. If db_locks or"
        " db_slow is listed, mend that; else run another process of the kind.",
    ),
    Reason.CLOCK_SKEW: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "The clock of a process or of the provider differs from the database's. Apollo decides by"
        " the database's clock; what is dated by another one looks too old or too new.",
        "{what}. Run NTP (chrony, systemd-timesyncd) on every machine.",
    ),
    Reason.STATUS_EVENTS_LAGGING: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "Status events arrive and wait in the API to be stored, so calls seem to last longer than"
        " they do.",
        "{who} has {waiting:status event|status events} to store, and the slowest of the last"
        " minute"
        " took {longest}. If db_locks or db_slow is listed, mend that; else run another `apollo"
        " serve`.",
    ),
    Reason.COMPLETED_NOT_CLOSED: ReasonFacts(
        Layer.PIPELINE,
        Severity.WARNING,
        "Every contact is final and the batch is still open.",
        "All {total:contact is|contacts are} final, and a running worker closes the batch within"
        " seconds. If it stays like this, start a worker: `apollo worker`.",
    ),
}
