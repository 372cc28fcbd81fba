-- name: find_by_provider_ids
-- Executions behind provider ids, for events that carry no tag.
select provider_call_id, id
  from calls
 where provider_call_id = any(:provider_call_ids::text[]);

-- name: lock_calls
-- Calls with their contacts, locked in one order. The batches are locked (key share) first, so that
-- a cancel either comes before, and is seen, or waits for us.
with named as materialized (
  -- The batch is matched here and not in the calls below, which are to be found by their ids alone:
  -- a planner that takes batches for small ones would go through all calls of a large one.
  select id, batch_id from calls where id = any(:call_ids::uuid[])
),
held as materialized (
  select b.id, b.status, b.max_retries_override, b.campaign_id,
         (select n.next_position <= b.total_contacts
            from batch_cursors n
           where n.batch_id = b.id) as has_fresh_contacts
    from batches b
   where b.id in (select batch_id from named)
   order by b.id
     for key share
)
select k.id, k.campaign_id, k.batch_id, k.position, k.kind, k.state, k.version, k.provider,
       k.phone_number, k.from_number, k.provider_call_id, k.sip_call_id, k.requested_at,
       k.heard_at, k.ringing_at, k.answered_at, k.ended_at, k.deadline_at, k.outcome, k.evidence,
       k.sip_status, k.sip_reason, k.duration_seconds, k.hangup_by, k.hangup_reason, k.reached,
       k.reached_by_agent,
       k.follow_up_at, k.prior_due_at, k.prior_updated_at, k.prior_attempted_at,
       h.status as batch_status, h.max_retries_override, p.retry_policy,
       p.max_follow_ups, c.status as contact_status, c.wait_reason, c.attempts, c.tries, c.retry_count,
       c.follow_up_count, c.carrier_failures, c.promises, c.is_withdrawn, c.is_reached,
       c.last_attempted_at,
       c.updated_at as contact_updated_at, d.turn, d.due_at,
       h.has_fresh_contacts, clock_timestamp() as read_at
  from named n
  join held h on h.id = n.batch_id
  join calls k on k.id = n.id
  join campaigns p on p.id = h.campaign_id
  join contacts c on c.batch_id = k.batch_id and c.position = k.position
  left join due_contacts d on d.batch_id = k.batch_id and d.position = k.position
 order by k.id
   for update of k, c;

-- name: find_other_calls
-- The other calls of these calls' contacts, released ones aside.
select k.id as beside_id, o.id, o.version, o.kind, o.state, o.provider, o.phone_number,
       o.from_number, o.requested_at, o.provider_call_id, o.outcome, o.hangup_reason
  from calls k
  join calls o on o.batch_id = k.batch_id and o.position = k.position and o.attempt is not null
 where k.id = any(:call_ids::uuid[]) and o.id <> k.id;

-- name: write_moves
-- Everything a set of events changes, in one statement: calls, each only from the version it was
-- decided on; their contacts and due times; what calls came to; the raw events; contacts parked
-- behind numbers that are free again. Fewer calls moved than given: somebody else was first.
with moved as (
  update calls k
     set state = m.state, version = k.version + 1, provider_call_id = m.provider_call_id,
         sip_call_id = m.sip_call_id, heard_at = m.heard_at, ringing_at = m.ringing_at,
         answered_at = m.answered_at, ended_at = m.ended_at, deadline_at = m.deadline_at,
         outcome = m.outcome, evidence = m.evidence, sip_status = m.sip_status,
         sip_reason = m.sip_reason, duration_seconds = m.duration_seconds,
         hangup_by = m.hangup_by, hangup_reason = m.hangup_reason, reached = m.reached,
         reached_by_agent = m.reached_by_agent,
         attempt = case when m.state = 'released' then null else k.attempt end
    from unnest(:ids::uuid[], :versions::integer[], :states::text[],
                :provider_call_ids::text[], :sip_call_ids::text[], :heard_ats::timestamptz[],
                :ringing_ats::timestamptz[], :answered_ats::timestamptz[],
                :ended_ats::timestamptz[], :deadline_ats::timestamptz[], :outcomes::text[],
                :evidences::text[], :sip_statuses::smallint[], :sip_reasons::text[],
                :durations::integer[], :hangup_bys::text[], :hangup_reasons::text[],
                :reached_whom::text[], :reached_by_agents::boolean[])
      as m (id, version, state, provider_call_id, sip_call_id, heard_at, ringing_at, answered_at,
            ended_at, deadline_at, outcome, evidence, sip_status, sip_reason, duration_seconds,
            hangup_by, hangup_reason, reached, reached_by_agent)
   where k.id = m.id and k.version = m.version
  returning k.id
),
contact_moves as materialized (
  select *
    from unnest(:batch_ids::uuid[], :positions::integer[], :statuses::text[],
                :wait_reasons::text[], :attempts::smallint[], :tries::smallint[],
                :retry_counts::smallint[], :follow_up_counts::smallint[],
                :carrier_failures::smallint[], :promises::smallint[], :reached::boolean[],
                :attempted_ats::timestamptz[], :updated_ats::timestamptz[],
                :turns::smallint[], :due_ats::timestamptz[])
      as m (batch_id, position, status, wait_reason, attempts, tries, retry_count,
            follow_up_count, carrier_failures, promises, is_reached, last_attempted_at, updated_at,
            turn, due_at)
),
moved_contacts as (
  update contacts c
     set status = m.status, wait_reason = m.wait_reason, attempts = m.attempts, tries = m.tries,
         retry_count = m.retry_count, follow_up_count = m.follow_up_count,
         carrier_failures = m.carrier_failures, promises = m.promises,
         is_reached = m.is_reached,
         last_attempted_at = m.last_attempted_at, updated_at = m.updated_at
    from contact_moves m
   where c.batch_id = m.batch_id and c.position = m.position
),
queued as (
  insert into due_contacts as d (batch_id, position, turn, due_at, is_due, since)
  select m.batch_id, m.position, m.turn, m.due_at, m.wait_reason is null, m.updated_at
    from contact_moves m
   where m.turn is not null
  on conflict (batch_id, position) do update
    set turn = excluded.turn, due_at = excluded.due_at, is_due = excluded.is_due,
        since = excluded.since, blocked_number = null
),
taken as (
  delete from due_contacts d
   using contact_moves m
   where d.batch_id = m.batch_id and d.position = m.position and m.turn is null
),
counted as (
  insert into call_counters as k (campaign_id, counted, slot, calls)
  select n.campaign_id, n.counted, pg_backend_pid() % 16, n.calls
    from unnest(:campaign_ids::uuid[], :counted::text[], :counts::bigint[])
      as n (campaign_id, counted, calls)
   order by 1, 2
  on conflict (campaign_id, counted, slot) do update set calls = k.calls + excluded.calls
),
stored as (
  insert into call_events
    (content_hash, execution_id, provider_call_id, call_status, body, verdict, received_at)
  select *
    from unnest(:content_hashes::uuid[], :execution_ids::uuid[], :event_call_ids::text[],
                :call_statuses::text[], :bodies::bytea[], :verdicts::text[],
                :received_ats::timestamptz[])
   order by 1
  on conflict (content_hash) do nothing
),
freed as materialized (
  -- What somebody else holds locked is left to its own due time.
  select d.batch_id, d.position
    from due_contacts d
    join contacts c on c.batch_id = d.batch_id and c.position = d.position
   where d.blocked_number = any(:freed_numbers::text[])
     and not exists (
       select from contact_moves m where m.batch_id = d.batch_id and m.position = d.position)
     for update of d, c skip locked
),
unparked as (
  update due_contacts d
     set is_due = true, blocked_number = null
    from freed f
   where d.batch_id = f.batch_id and d.position = f.position
),
cleared as (
  update contacts c
     set wait_reason = null
    from freed f
   where c.batch_id = f.batch_id and c.position = f.position
),
woken as materialized (
  select campaign_id from unnest(:freed_campaigns::uuid[]) as campaign_id
   union
  select b.campaign_id from freed f join batches b on b.id = f.batch_id
),
told as (
  select count(pg_notify('apollo_wake', w.campaign_id::text)) as campaigns
    from woken w
   where :notifies::boolean
)
select (select count(*) from moved)::integer as moved,
       (select array_agg(campaign_id) from woken) as woken,
       (select campaigns from told) as told;

-- name: mark_numbers
-- Numbers that turned out to be somebody else's; what is known already stays as it is.
insert into marked_numbers (organization_id, phone_number, mark, call_id, marked_at)
select k.organization_id, k.phone_number, 'wrong_person', k.id, clock_timestamp()
  from calls k
 where k.id = any(:call_ids::uuid[])
 order by k.phone_number
on conflict (organization_id, phone_number) do nothing;

-- name: unmark_numbers
-- These calls showed nothing of the kind after all.
delete from marked_numbers where call_id = any(:call_ids::uuid[]);

-- name: lock_batches
-- Batches that may be finished now; their locks put the deciders in a row, so that the last one
-- sees the work of all others.
select id
  from batches
 where id = any(:batch_ids::uuid[])
 order by id
   for no key update;

-- name: complete_batches
-- Decided from contact states, in the transaction that ended the last one.
update batches b
   set status = 'completed', paused_by = null, pause_reason = null, completed_at = :now,
       updated_at = :now
 where b.id = any(:batch_ids::uuid[])
   and b.status in ('in_progress', 'paused')
   and not exists (
     select from batch_counters k
      where k.batch_id = b.id
        and k.status in ('pending', 'dispatched', 'in_progress', 'retrying', 'followup_scheduled')
     having sum(k.contacts) > 0)
returning b.id, b.campaign_id;

-- name: pause_refused_batch
-- Apollo's own pause: every request of the batch is refused for a reason that will not go away.
update batches
   set status = 'paused', paused_by = 'apollo', pause_reason = :reason, updated_at = :now
 where id = :batch_id and status = 'in_progress'
returning organization_id, campaign_id;

-- name: note_action
-- Apollo's own doings stand beside the operators'.
insert into actions (organization_id, campaign_id, batch_id, at, actor, action, detail)
values (:organization_id, :campaign_id, :batch_id, :now, 'apollo', :action, :detail);

-- name: notify_campaigns
-- Wakes diallers, once per campaign, when this transaction commits.
select pg_notify('apollo_wake', id::text)
  from unnest(:campaign_ids::uuid[]) as id;

-- name: take_overdue
-- Calls past their deadline, for one process at a time: the new deadline is its turn to look. Those
-- of another provider only when nobody who could ask it has looked for so long.
update calls k
   set deadline_at = clock_timestamp() + :turn::interval
  from (select id
          from calls
         where ended_at is null
           and deadline_at <= clock_timestamp() - case when provider = :provider then interval '0'
                                                       else :abandoned_after::interval end
         order by deadline_at
         limit :at_most::integer
           for update skip locked) as o
 where k.id = o.id
returning k.id, k.state, k.version, k.provider, k.phone_number, k.from_number, k.provider_call_id,
          k.requested_at, k.answered_at, clock_timestamp() as read_at;

-- name: read_silent
-- Calls the provider has named, and of which nothing was told for a while: those of which nothing
-- ever was, and all of them when nothing was told of any that is as old. News of younger calls says
-- nothing: a provider that has just returned dials new ones, and may tell of no other.
with open_calls as (
  select *, greatest(requested_at, heard_at, ringing_at, answered_at) as told_at
    from calls
   where ended_at is null and provider = :provider and provider_call_id is not null
)
select id, state, version, provider, phone_number, from_number, provider_call_id, requested_at,
       answered_at, clock_timestamp() as read_at
  from open_calls
 where told_at < clock_timestamp() - :silence::interval
   and (heard_at is null
        or (select max(told_at) from open_calls
             where heard_at is not null and requested_at < clock_timestamp() - :silence::interval)
           < clock_timestamp() - :silence::interval)
 order by told_at
 limit :at_most::integer;

-- name: read_existing_between
-- Calls asked for in a stretch of time, of which the provider itself has told that they existed;
-- the latest, where there are too many.
select provider_call_id, requested_at, ended_at,
       ringing_at is not null or answered_at is not null or outcome = 'completed' as has_rung
  from calls
 where provider = :provider and requested_at between :since and :until
   and provider_call_id is not null and state <> 'released'
   and (heard_at is not null or ringing_at is not null or answered_at is not null
        or evidence in ('webhook', 'poll', 'cdr'))
 order by requested_at desc
 limit :at_most::integer;

-- name: set_deadlines
-- When to look at these calls again; what has moved since they were read has its own deadline.
update calls k
   set deadline_at = n.deadline_at
  from unnest(:ids::uuid[], :versions::integer[], :deadline_ats::timestamptz[])
       as n (id, version, deadline_at)
 where k.id = n.id and k.version = n.version and k.ended_at is null;

-- name: read_known_provider_ids
-- Which of these provider calls already belong to a call of ours.
select provider_call_id
  from calls
 where provider_call_id = any(:provider_call_ids::text[]);

-- name: reopen_batch
-- A completed batch goes on: under its own pause, if the last word about that was no resuming, or
-- its campaign's if that stands. Numbers and not times tell which word was last: clocks differ.
with paused as (
  select case actor when 'apollo' then 'apollo' else 'batch' end as by, detail
    from (select action, actor, detail
            from actions
           where batch_id = :batch_id and action in ('batch_paused', 'batch_resumed')
           order by id desc
           limit 1) as last
   where action = 'batch_paused'
)
update batches b
   set status = case when coalesce(p.by, c.by) is null then 'in_progress' else 'paused' end,
       paused_by = coalesce(p.by, c.by),
       pause_reason = case when p.by = 'apollo' then p.detail end,
       completed_at = null, ready_at = greatest(b.ready_at, :now), updated_at = :now
  from (select id, case when paused_at is not null then 'campaign' end as by from campaigns) c
  left join paused p on true
 where b.id = :batch_id and b.status = 'completed' and c.id = b.campaign_id
returning b.organization_id, b.campaign_id;
