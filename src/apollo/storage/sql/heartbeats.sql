-- name: beat
-- A process says that it lives, and how it is.
insert into heartbeats
  (process_id, role, host, pid, version, started_at, seen_at, report)
values (:process_id, :role, :host, :pid, :version, :started_at, clock_timestamp(), :report)
on conflict (process_id) do update
  set seen_at = clock_timestamp(), stopped_at = null, report = excluded.report
returning seen_at;

-- name: say_goodbye
-- A process stops in good order.
update heartbeats
   set stopped_at = clock_timestamp()
 where process_id = :process_id;

-- name: forget_old
-- Processes that were last seen a week ago explain nothing any more, but for the last worker: since
-- when nobody dialled is what a restore is recognised by.
delete from heartbeats
 where seen_at < clock_timestamp() - interval '7 days'
   and seen_at < coalesce(
     (select max(w.seen_at) from heartbeats w where w.role = 'worker'), 'infinity');

-- name: alive
-- Processes heard of within `alive_within` that did not say goodbye, and how each is.
select process_id, role, host, pid, version, started_at, report
  from heartbeats
 where stopped_at is null and seen_at > clock_timestamp() - :alive_within::interval
 order by role, started_at;

-- name: status_events_wait
-- Whether a worker on Kafka cannot read the status events, or is late with them.
select exists (
  select from heartbeats
   where role = 'worker' and stopped_at is null
     and seen_at > clock_timestamp() - :alive_within::interval
     and report ? 'status_events'
     and (not (report -> 'status_events' ->> 'is_connected')::boolean
          or (report -> 'status_events' ->> 'lag_s')::float8 > :lag_max_s::float8));
