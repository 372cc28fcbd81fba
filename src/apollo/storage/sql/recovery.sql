-- name: read_reach
-- Which database this is, and how far it knows: whatever it lacks was claimed after the last claim
-- in it. If there is none, since there are workers that may claim; null: nobody ever could. What a
-- heartbeat said last is no help: whoever lives through a restore goes on beating.
select database_identity() as identity, database_lineage() as lineage,
       (select compared_lineage from installation) as compared_lineage,
       coalesce((select max(last_claimed_at) from batch_cursors),
                (select min(started_at)
                   from heartbeats
                  where role = 'worker' and (report ->> 'is_cleared')::boolean)) as knows_until;

-- name: read_recovery
-- Whether dialling waits for an operator since a restore, what was found, and since when calls are
-- open here: what became of those is read in before it is asked who was called after them.
select recovery_since, coalesce(recovery_evidence, '{}') as recovery_evidence,
       (select min(requested_at) from calls where ended_at is null) as open_since
  from installation;

-- name: read_caller_ids
-- The numbers we call from.
select distinct number
  from campaigns, unnest(phone_numbers) as number;

-- name: read_our_calls
-- Calls of ours that these provider calls may be: by the provider's id, and those it has not named
-- to us by number. A released call was never sent.
select id, provider_call_id, phone_number, from_number, requested_at, ended_at is null as is_open,
       outcome, evidence
  from calls
 where provider_call_id = any(:provider_call_ids::text[])
 union all
select id, provider_call_id, phone_number, from_number, requested_at, ended_at is null, outcome,
       evidence
  from calls
 where phone_number = any(:phone_numbers::text[])
   and provider = :provider and provider_call_id is null and state <> 'released'
   and (ended_at is null or requested_at >= :since::timestamptz)
 order by requested_at;

-- name: read_open_calls
-- Calls that the dump has as open: what became of them only the provider can tell.
select id
  from calls
 where provider = :provider and ended_at is null;

-- name: note_compared
-- This database was compared with the provider, or an operator answers for it.
update installation
   set compared_lineage = :lineage;

-- name: enter_recovery
-- No claim anywhere until an operator has confirmed; nothing is returned if it is so already.
update installation
   set recovery_since = clock_timestamp(), recovery_evidence = :evidence
 where recovery_since is null
returning recovery_since;

-- name: note_read_in
-- What was read in so far, while it still waits for an operator's word.
update installation
   set recovery_evidence = :evidence
 where recovery_since is not null;

-- name: leave_recovery
-- Claims may take again. What was found is kept: it must not be news after the next restart.
update installation
   set recovery_since = null, recovery_evidence = :evidence;

-- name: note_everywhere
-- Who did what to every organisation.
insert into actions (organization_id, at, actor, action, detail)
select id, clock_timestamp(), :actor, :action, :detail from organizations;

-- name: find_contacts
-- Unfinished batches' contacts with these numbers: few operators do this, and seldom, so it may
-- read whole batches.
select b.id as batch_id, c.position, c.phone_number, p.phone_numbers as caller_ids
  from batches b
  join campaigns p on p.id = b.campaign_id
  join contacts c on c.batch_id = b.id and c.phone_number = any(:phone_numbers::text[])
 where b.status in ('pending', 'in_progress', 'paused')
   and c.status in ('pending', 'retrying', 'followup_scheduled')
 order by b.created_at, b.id, c.position;

-- name: adopt_call
-- Writes the call that a contact had, as the lost claim had written it. Contacts before it in the
-- upload that still wait are queued, so that everything behind the cursor is settled, as always.
with held as materialized (
  select id, organization_id, campaign_id
    from batches
   where id = :batch_id and status in ('pending', 'in_progress', 'paused')
     for key share
),
contact as materialized (
  select h.organization_id, h.campaign_id, c.batch_id, c.position, c.phone_number, c.attempts,
         c.updated_at, c.last_attempted_at, coalesce(d.turn, 2) as turn, d.due_at
    from held h
    join contacts c on c.batch_id = h.id and c.position = :position
    left join due_contacts d on d.batch_id = c.batch_id and d.position = c.position
   where c.status in ('pending', 'retrying', 'followup_scheduled')
     for update of c
),
won as (
  insert into calls
    (id, organization_id, campaign_id, batch_id, position, attempt, kind, state, provider,
     phone_number, from_number, provider_call_id, requested_at, deadline_at, window_opens_at,
     window_closes_at, prior_due_at, prior_updated_at, prior_attempted_at)
  select gen_random_uuid(), c.organization_id, c.campaign_id, c.batch_id, c.position,
         c.attempts + 1,
         case c.turn when 0 then 'follow_up' when 1 then 'retry' else 'first' end,
         'accepted', :provider, c.phone_number, :from_number, :provider_call_id,
         r.requested_at, clock_timestamp(), r.requested_at, r.requested_at, c.due_at,
         c.updated_at, c.last_attempted_at
    from contact c
   cross join lateral (
     select coalesce(:requested_at::timestamptz, clock_timestamp()) as requested_at) as r
  on conflict do nothing
  returning id, batch_id, position, kind, requested_at, campaign_id
),
moved as (
  update contacts c
     set status = 'dispatched', wait_reason = null, attempts = c.attempts + 1,
         tries = c.tries + 1,
         retry_count = c.retry_count + (w.kind = 'retry' and c.tries > 0)::integer,
         follow_up_count = c.follow_up_count + (w.kind = 'follow_up')::integer,
         last_attempted_at = w.requested_at, updated_at = w.requested_at
    from won w
   where c.batch_id = w.batch_id and c.position = w.position
),
taken as (
  delete from due_contacts d
   using won w
   where d.batch_id = w.batch_id and d.position = w.position
),
passed as (
  insert into due_contacts (batch_id, position, turn, due_at, is_due, since)
  select c.batch_id, c.position, 2, clock_timestamp(), true, c.updated_at
    from won w
    join batch_cursors k on k.batch_id = w.batch_id
    join contacts c
      on c.batch_id = w.batch_id and c.position >= k.next_position and c.position < w.position
   where c.status = 'pending'
  on conflict (batch_id, position) do nothing
),
advanced as (
  update batch_cursors k
     set next_position = greatest(k.next_position, w.position + 1)
    from won w
   where k.batch_id = w.batch_id
),
counted as (
  insert into call_counters as k (campaign_id, counted, slot, calls)
  select w.campaign_id, v.counted, pg_backend_pid() % 16, 1
    from won w
   cross join lateral (
     values ('attempts'), (case when w.kind = 'follow_up' then 'follow_up_attempts' end)
   ) as v (counted)
   where v.counted is not null
   order by v.counted
  on conflict (campaign_id, counted, slot) do update set calls = k.calls + excluded.calls
)
select id from won;
