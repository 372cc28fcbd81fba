-- Everything here costs the same at ten contacts and at ten million: sums of counters, the first
-- entries of an index, and the open calls, which the limits bound. A test reads the plans.

-- name: limit_statements
-- A diagnosis that hangs is no diagnosis.
select set_config('statement_timeout', :milliseconds::text, true);

-- name: batch_facts
-- The batch, its campaign, and who stopped dialling, if anybody did; and the database's time, by
-- which all of it was dated. A test may say another.
select coalesce(:now::timestamptz, clock_timestamp()) as read_at,
       b.id, b.campaign_id, b.organization_id, b.status, b.total_contacts, b.concurrency_limit, b.paused_by,
       b.pause_reason, b.scheduled_start, b.ends_at, b.ready_at, b.updated_at, b.rejected_count,
       case when b.rejected_count > 0
            then jsonb_path_query_array(b.rejected, '$[0 to 2]') else '[]' end as rejected,
       coalesce(b.max_retries_override, (c.retry_policy ->> 'max_retries')::integer, 0)
         as max_retries,
       coalesce((c.retry_policy ->> 'cooldown_minutes')::float8, 0) as cooldown_minutes,
       c.agent_id, c.phone_numbers,
       a.agent_id is not null as is_registered, a.application_sid, a.call_hook,
       c.concurrency_limit as campaign_limit, c.paused_at, c.cancelled_at,
       c.working_hours_enforced, c.timezone, c.working_hours,
       o.dialling_stopped_at as organization_stopped_at,
       i.dialling_stopped_at as installation_stopped_at, i.recovery_since, i.recovery_evidence
  from batches b
  join campaigns c on c.id = b.campaign_id
  join organizations o on o.id = b.organization_id
  left join lateral agent_of(c.agent_id, c.organization_id) a on true
  left join installation i on true
 where b.id = :batch_id and b.organization_id = :organization_id;

-- name: tallies
-- Contacts by status and stored wait reason.
select status, nullif(wait_reason, '') as wait_reason, sum(contacts)::bigint as contacts,
       nullif(min(oldest_at), 'infinity') as oldest_at,
       nullif(max(latest_at), '-infinity') as latest_at
  from batch_counters
 where batch_id = :batch_id
 group by 1, 2
 order by 1, 2;

-- name: processes
-- Who is alive, and of the others those seen last.
select role, host, pid, version, started_at, seen_at, stopped_at, report
  from heartbeats
 order by stopped_at is null
          and seen_at > (select coalesce(:now::timestamptz, clock_timestamp())) - :alive_within::interval desc,
          seen_at desc
 limit 100;

-- name: open_calls
-- The campaign's open calls by batch: at most as many as its limit allows. One that was heard of is
-- too long open beyond the longest it may ring, or talk.
select k.batch_id, b.status, count(*)::integer as calls, min(k.requested_at) as oldest_at,
       count(*) filter (where k.state = 'unknown')::integer as unknown,
       min(k.requested_at) filter (where k.state = 'unknown') as unknown_since,
       min(k.deadline_at) filter (where k.state = 'unknown') as next_look_at,
       max(k.requested_at) as newest_at, min(k.deadline_at) as next_deadline_at,
       count(*) filter (
         where k.heard_at is not null
           and case when k.answered_at is null then k.requested_at + :ring_for::interval
                    else k.answered_at + :talk_for::interval end
               < (select coalesce(:now::timestamptz, clock_timestamp())))::integer as too_long
  from calls k
  join batches b on b.id = k.batch_id
 where k.campaign_id = (select m.campaign_id from batches m where m.id = :batch_id)
   and k.ended_at is null
 group by k.batch_id, b.status;

-- name: contacts_on_call
-- This batch's contacts with an open call, by status.
select c.status, count(distinct c.position)::integer as contacts, min(c.updated_at) as oldest_at
  from calls k
  join contacts c on c.batch_id = k.batch_id and c.position = k.position
 where k.campaign_id = (select m.campaign_id from batches m where m.id = :batch_id)
   and k.batch_id = :batch_id and k.ended_at is null
 group by c.status;

-- name: waiting
-- What waits in each turn of the due list: the ends of three indexes, and how many fell due without
-- being promoted, counted no further than :overdue_max. The turn is a range of one and part of the
-- order, so that no index on the due time alone can serve it by reading past other batches.
select t.turn,
       (select d.since from due_contacts d
         where d.batch_id = :batch_id and d.turn between t.turn and t.turn
         order by d.turn, d.since limit 1) as oldest_at,
       (select d.due_at from due_contacts d
         where d.batch_id = :batch_id and d.turn between t.turn and t.turn and d.is_due
         order by d.turn, d.due_at limit 1) as ready_at,
       (select d.due_at from due_contacts d
         where d.batch_id = :batch_id and d.turn between t.turn and t.turn
           and not d.is_due and d.blocked_number is null
         order by d.turn, d.due_at limit 1) as first_due_at,
       (select d.due_at from due_contacts d
         where d.batch_id = :batch_id and d.turn between t.turn and t.turn
           and not d.is_due and d.blocked_number is null
         order by d.turn desc, d.due_at desc limit 1) as last_due_at,
       (select count(*)::integer
          from (select from due_contacts d
                 where d.batch_id = :batch_id and d.turn between t.turn and t.turn
                   and not d.is_due and d.blocked_number is null
                   and d.due_at <= (select coalesce(:now::timestamptz, clock_timestamp()))
                 order by d.turn, d.due_at
                 limit :overdue_max::integer) as o) as overdue
  from unnest('{0,1,2}'::smallint[]) as t (turn);

-- name: heads
-- The pending contacts that wait longest: at the cursor, and among those given back.
(select c.position, c.updated_at, true as is_fresh
   from contacts c
  where c.batch_id = :batch_id
    and c.position >= (select k.next_position from batch_cursors k where k.batch_id = :batch_id)
  order by c.position
  limit 3)
union all
(select d.position, d.since as updated_at, false as is_fresh
   from due_contacts d
  where d.batch_id = :batch_id and d.turn = 2
  order by d.since, d.position
  limit 3);

-- name: parked
-- A few contacts whose number is on another call, and that call when it is the organisation's own.
select d.position, k.batch_id, k.id as execution_id, k.requested_at
  from (select position, blocked_number
          from due_contacts
         where batch_id = :batch_id and blocked_number is not null
         limit 3) as d
  left join lateral (
    select k.batch_id, k.id, k.requested_at
      from calls k
     where k.phone_number = d.blocked_number and k.ended_at is null
       and k.organization_id = :organization_id
     limit 1) as k on true;

-- name: shut_gates
-- Gates of a batch and its campaign that are shut because calls fail, the campaign's first; and how
-- many other campaigns of the provider are held meanwhile.
select g.kind as scope, g.sip_status,
       case when g.family is null then 0 else cardinality(g.row_calls) end as numbers, g.failed,
       g.carried, g.shut_at, g.probe_at,
       (select count(*)::integer
          from carrier_gates o
         where o.provider = g.provider and o.kind = 'campaign' and o.shut_at is not null
           and o.campaign_id <> g.campaign_id) as others
  from carrier_gates g
 where g.campaign_id = (select m.campaign_id from batches m where m.id = :batch_id)
   and g.shut_at is not null
   and (g.kind = 'campaign' or g.scope_id = :batch_id)
 order by g.kind desc;

-- name: acts
-- Who paused or cancelled the batch or its campaign, last.
(select 'batch' as scope, case when action ~ 'cancel' then 'cancel' else 'pause' end as verb,
        actor, at
   from actions
  where batch_id = :batch_id and action ~ '(pause|cancel)'
  order by at desc
  limit 1)
union all
(select 'campaign', case when action ~ 'cancel' then 'cancel' else 'pause' end, actor, at
   from actions
  where campaign_id = (select m.campaign_id from batches m where m.id = :batch_id)
    and batch_id is null and action ~ '(pause|cancel)'
  order by at desc
  limit 1);

-- name: ended_calls
-- How the last calls of the batch ended, newest first: the end of one index.
select kind, coalesce(attempt, 1) as attempt, outcome, from_number, phone_number, requested_at,
       ended_at, heard_at, ringing_at,
       answered_at, sip_status, coalesce(sip_reason, '') as sip_reason,
       coalesce(hangup_by, '') as hangup_by, coalesce(hangup_reason, '') as hangup_reason,
       duration_seconds as duration_s, coalesce(evidence, '') as evidence
  from calls
 where batch_id = :batch_id and outcome is not null
 order by ended_at desc
 limit 200;

-- name: live_calls
-- The open calls of the batch that the provider took, newest first.
select kind, coalesce(attempt, 1) as attempt, from_number, phone_number, requested_at, heard_at,
       ringing_at, answered_at
  from calls
 where campaign_id = (select m.campaign_id from batches m where m.id = :batch_id)
   and batch_id = :batch_id and ended_at is null and state in ('accepted', 'ringing', 'answered')
 order by requested_at desc
 limit 200;

-- name: endings
-- What became of the calls of a batch that is over, from up to forty of each tenth of its people.
select k.outcome, k.sip_status, coalesce(k.hangup_reason, '') as hangup_reason,
       count(*)::integer as calls
  from batches b
 cross join generate_series(0, 9) as n
 cross join lateral (
   select e.outcome, e.sip_status, e.hangup_reason
     from calls e
    where e.batch_id = b.id
      and e.position >= 1 + b.total_contacts::bigint * n / 10
      and e.position < 1 + b.total_contacts::bigint * (n + 1) / 10
      and e.outcome is not null
    order by e.position, e.attempt
    limit 40) as k
 where b.id = :batch_id and b.status not in ('pending', 'in_progress', 'paused')
 group by 1, 2, 3;

-- name: held
-- Contacts held by the last calls of unknown outcome. Of those calls so many are looked at and no
-- more: they may all be the past of contacts that were called again.
select count(*) filter (where c.status = 'failed' and c.attempts = k.attempt)::integer as contacts,
       count(*) = :looked_at_max::integer as may_be_more
  from (select position, attempt
          from calls
         where batch_id = :batch_id and hangup_reason = 'outcome_unknown' and state = 'ended'
         order by ended_at desc
         limit :looked_at_max::integer) as k
  join contacts c on c.batch_id = :batch_id and c.position = k.position;

-- name: calls_elsewhere
-- The last calls of the five newest batches of the campaign.
select k.kind, k.outcome, k.from_number, k.phone_number, k.requested_at, k.ended_at, k.heard_at,
       k.answered_at, k.sip_status, coalesce(k.hangup_by, '') as hangup_by,
       coalesce(k.hangup_reason, '') as hangup_reason, k.duration_seconds as duration_s
  from (select o.id
          from batches o
         where o.campaign_id = :campaign_id
         order by o.created_at desc, o.id
         limit 5) as b
 cross join lateral (
   select e.id, e.kind, e.outcome, e.from_number, e.phone_number, e.requested_at, e.ended_at,
          e.answered_at, e.sip_status, e.hangup_by, e.hangup_reason,
          e.duration_seconds, e.heard_at
     from calls e
    where e.batch_id = b.id and e.outcome is not null
    order by e.ended_at desc
    limit 60) as k;

-- name: campaign_load
-- What a campaign's live batches have left, how much of it in how many batches is being dialled,
-- and whether anything holds it as a whole.
select l.unfinished, l.dialled, l.batches_dialled,
       c.paused_at is not null as is_paused, c.cancelled_at is not null as is_cancelled,
       o.dialling_stopped_at is not null
         or exists (select from installation i where i.dialling_stopped_at is not null)
         as is_stopped,
       clock_timestamp() as read_at
  from campaigns c
  join organizations o on o.id = c.organization_id
 cross join lateral (
   select coalesce(sum(k.contacts), 0)::bigint as unfinished,
          coalesce(sum(k.contacts) filter (where b.status = 'in_progress'), 0)::bigint as dialled,
          count(distinct b.id) filter (where b.status = 'in_progress')::integer as batches_dialled
     from batches b
     join batch_counters k on k.batch_id = b.id
    where b.campaign_id = c.id and b.status in ('pending', 'in_progress', 'paused')
      and k.status in ('pending', 'dispatched', 'in_progress', 'retrying',
                       'followup_scheduled')) as l
 where c.id = :campaign_id and c.deleted_at is null;

-- name: database
-- Whether the database takes writes, which schema it has, how far ahead requests are booked.
select pg_is_in_recovery() as is_standby,
       current_setting('default_transaction_read_only')::boolean as is_readonly,
       (select count(*) from schema_migrations)::integer as schema_version,
       (select coalesce(jsonb_object_agg(
                 p.provider, extract(epoch from p.next_request_at - clock_timestamp())), '{}')
          from (select provider, next_request_at
                  from providers
                 where next_request_at > clock_timestamp()
                 limit 20) as p) as booked_ahead_s;

-- name: blockers
-- Sessions that others of this database wait for, and that wait for nobody themselves.
with waiting as materialized (
  select w.pid, b.pid as blocker
    from pg_stat_activity w
   cross join lateral unnest(pg_blocking_pids(w.pid)) as b (pid)
   where w.datname = current_database() and w.wait_event_type = 'Lock'
)
select a.pid, coalesce(a.application_name, '') as application, coalesce(a.state, '') as state,
       coalesce(a.xact_start, a.query_start, a.backend_start) as since,
       count(distinct w.pid)::integer as waiting, left(a.query, 200) as statement
  from waiting w
  join pg_stat_activity a on a.pid = w.blocker
 where a.wait_event_type is distinct from 'Lock'
   and coalesce(a.xact_start, a.query_start, a.backend_start) is not null
 group by 1, 2, 3, 4, 6
 order by 5 desc, 4
 limit 5;

-- name: slot_freed_at
-- When a call of the campaign last ended, looked at only for a batch that seems stuck.
select nullif(max(k.latest_at), '-infinity')
  from batches b
  join batch_counters k on k.batch_id = b.id
 where b.campaign_id = :campaign_id
   and (b.status in ('pending', 'in_progress', 'paused') or b.updated_at > :after)
   and k.status in ('retrying', 'followup_scheduled', 'completed', 'failed', 'busy', 'no_answer',
                    'voicemail', 'max_retries_reached');

-- name: recount
-- The whole batch, one by one: on request only, and the only reading here that grows with it.
select status, wait_reason, count(*) as contacts
  from contacts
 where batch_id = :batch_id
 group by status, wait_reason;

-- name: backlog
-- What waits because of Kafka: events not brought there yet, and messages nobody could read. The
-- first, the last and the count of a short list, each by its index.
select (select at from outbox order by id limit 1) as outbox_since,
       (select count(*) from dead_letters where replayed_at is null)::integer as letters,
       (select buried_at from dead_letters where replayed_at is null order by id limit 1)
         as first_letter_at,
       (select buried_at from dead_letters where replayed_at is null order by id desc limit 1)
         as last_letter_at,
       coalesce((select reason from dead_letters where replayed_at is null order by id desc
                  limit 1), '') as last_letter_why;
