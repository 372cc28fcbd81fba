-- name: lock_campaign
-- Takes the campaign's lock, waiting a moment at most, and reads what the decision needs, with the
-- database's own clock: a worker's clock is never asked whether a window is open.
with patience as materialized (
  select set_config('lock_timeout', '100ms', true)
)
select c.id, c.organization_id, c.agent_id, c.phone_numbers, c.phone_number_strategy,
       c.working_hours_enforced, c.timezone, c.working_hours, c.concurrency_limit,
       c.number_gap_minutes, c.amd,
       c.caller_ids_used, c.paused_at, c.cancelled_at, c.deleted_at,
       o.dialling_stopped_at is not null
         or exists (select from installation i where i.dialling_stopped_at is not null)
         as is_stopped,
       exists (select from installation i where i.recovery_since is not null) as is_recovering,
       a.call_hook, a.application_sid, a.speech_synthesis, a.speech_recognizer,
       exists (select from carrier_gates g
                where g.campaign_id = c.id and g.shut_at is not null) as has_shut_gates,
       database_identity() as database_identity, clock_timestamp() as read_at
  from patience
 cross join campaigns c
  join organizations o on o.id = c.organization_id
  left join lateral agent_of(c.agent_id, c.organization_id) a on true
 where c.id = :campaign_id
   for no key update of c;

-- name: read_loads
-- A statement of its own, after the lock: its snapshot sees every claim that came before.
-- One row for each batch that may dial; `ready` is counted no further than `at_most`.
with open_calls as materialized (
  -- Counted once, for all batches. Only an index of open calls can serve this, whatever the planner
  -- believes; for one batch at a time it might choose to go through all calls the batch ever had.
  select batch_id, count(*)::integer as calls
    from calls
   where campaign_id = :campaign_id and ended_at is null
   group by batch_id
),
running as materialized (
  select b.id, b.created_at,
         coalesce(b.concurrency_limit, :campaign_limit::integer) as concurrency_limit,
         b.total_contacts + 1
           - (select k.next_position from batch_cursors k where k.batch_id = b.id)
           + (select count(*)
                from (select from due_contacts d
                       where d.batch_id = b.id and d.is_due
                       order by d.turn, d.due_at, d.position
                       limit :at_most::integer) as waiting)::integer as ready
    from batches b
   where b.campaign_id = :campaign_id
     and b.status = 'in_progress'
     and (b.ends_at is null or b.ends_at > clock_timestamp())
)
-- Grouped and not joined: that takes one pass however many batches there are.
select batch_id, max(concurrency_limit) as concurrency_limit,
       coalesce(sum(calls), 0)::integer as open_calls, max(ready) as ready,
       (select coalesce(sum(calls), 0) from open_calls)::integer as campaign_open_calls
  from (select id as batch_id, created_at, concurrency_limit, ready, null as calls from running
        union all
        select batch_id, null, null, null, calls from open_calls) as one
 group by batch_id
having count(ready) = 1
 order by max(created_at), batch_id;

-- name: read_caller_id_loads
-- Open calls by caller id, for the least loaded one.
select from_number, count(*)::integer as open_calls
  from calls
 where campaign_id = :campaign_id and ended_at is null
 group by from_number;

-- name: lock_pace
-- Takes the provider's pace and tells how many seconds ahead requests are booked already.
insert into providers as p (provider)
values (:provider)
on conflict (provider) do update set provider = excluded.provider
returning greatest(extract(epoch from p.next_request_at - clock_timestamp()), 0)::float8;

-- name: read_load
-- The open calls at a provider, over all campaigns. At risk: asked for and not answered yet, or
-- answered so, and lately, that there may be a call.
select count(*)::integer as open_calls,
       (count(*) filter (where state = 'placing'))::integer as placing,
       (count(*) filter (where state = 'placing' or state = 'unknown'
          and requested_at > clock_timestamp() - :risky_for::interval))::integer as at_risk
  from calls
 where provider = :provider and ended_at is null;

-- name: book_requests
-- Books the next requests of the pace.
update providers
   set next_request_at = greatest(coalesce(next_request_at, clock_timestamp()), clock_timestamp())
                         + make_interval(secs => :seconds::float8)
 where provider = :provider;

-- name: claim_contacts
-- Claim and arm in one commit: takes contacts of each batch in their turn (follow-ups, retries,
-- upload order), writes the intent to call them, and parks those whose number is on a call, or was
-- a moment ago.
-- The window is compared with the clock of this statement; outside it nothing is taken.
with quota as materialized (
  select q.batch_id, q.take, q.open_calls, q.concurrency_limit
    from unnest(:batch_ids::uuid[], :takes::integer[], :batch_open_calls::smallint[],
                :batch_limits::smallint[]) as q (batch_id, take, open_calls, concurrency_limit)
   where clock_timestamp() >= :opens_at::timestamptz
     and clock_timestamp() < :closes_at::timestamptz - :ring_timeout::interval
),
due as materialized (
  select d.batch_id, d.position, d.turn, d.due_at
    from quota q
   cross join lateral (
     select e.batch_id, e.position, e.turn, e.due_at
       from due_contacts e
      where e.batch_id = q.batch_id and e.is_due
      order by e.turn, e.due_at, e.position
      limit q.take
        for update skip locked) as d
),
bounds as materialized (
  -- What is left of each batch's quota is a range of positions. Who was skipped alone is in it, too,
  -- and passed over.
  select q.batch_id, k.next_position as first,
         k.next_position + q.take
           - (select count(*) from due d where d.batch_id = q.batch_id)::integer as beyond
    from quota q
   cross join lateral (
     select b.next_position from batch_cursors b where b.batch_id = q.batch_id offset 0) as k
),
fresh as materialized (
  -- Looked up by itself for each batch (`offset 0`): joined, the planner might leave a bound of the
  -- range aside and read the rest of a batch, by statistics that are missing or an average.
  select c.batch_id, c.position
    from bounds w
   cross join lateral (
     select r.batch_id, r.position
       from contacts r
      where r.batch_id = w.batch_id and r.position >= w.first and r.position < w.beyond
        and r.status = 'pending'
     offset 0) as c
),
picked as materialized (
  select p.batch_id, p.position, p.turn, p.due_at, c.phone_number, c.attempts, c.tries,
         c.updated_at, c.last_attempted_at, row_number() over (order by p.turn, p.batch_id, p.position) as nth
    from (select batch_id, position, turn, due_at from due
          union all
          select batch_id, position, 2, null from fresh) as p
    join contacts c on c.batch_id = p.batch_id and c.position = p.position
),
resting as materialized (
  -- Called a moment ago out of another batch; or this is a follow-up, and the call before it ended
  -- just now. Retries within a batch have the campaign's own cooldown.
  select p.batch_id, p.position, l.ended_at + :number_gap::interval as until
    from picked p
   cross join lateral (
     select max(k.ended_at) as ended_at
       from calls k
      where k.phone_number = p.phone_number and k.organization_id = :organization_id
        and k.attempt is not null
        and k.ended_at > clock_timestamp() - :number_gap::interval
        and (k.batch_id <> p.batch_id
             or (k.position = p.position and p.turn = 0 and p.tries = 0))) as l
   where :number_gap::interval > interval '0' and l.ended_at is not null
),
won as (
  insert into calls
    (id, organization_id, campaign_id, batch_id, position, attempt, kind, state, provider,
     phone_number, from_number, worker_id, requested_at, deadline_at, window_opens_at,
     window_closes_at, prior_due_at, prior_updated_at, prior_attempted_at, batch_open_calls,
     batch_limit, campaign_open_calls, campaign_limit)
  select gen_random_uuid(), :organization_id, :campaign_id, p.batch_id, p.position,
         p.attempts + 1,
         case p.turn when 0 then 'follow_up' when 1 then 'retry' else 'first' end,
         'placing', :provider, p.phone_number,
         (:caller_ids::text[])[p.nth], :worker_id, clock_timestamp(),
         clock_timestamp() + :lease::interval, :opens_at, :closes_at,
         p.due_at, p.updated_at, p.last_attempted_at, q.open_calls, q.concurrency_limit,
         :campaign_open_calls, :campaign_limit
    from picked p
    join quota q on q.batch_id = p.batch_id
   where not exists (
     select from resting r where r.batch_id = p.batch_id and r.position = p.position)
   order by p.phone_number
  on conflict (provider, phone_number) where ended_at is null do nothing
  returning id, batch_id, position, kind, attempt, phone_number, from_number, requested_at
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
lost as (
  -- The end of the other call promotes what is blocked; the half minute is for one that was missed.
  -- Whose it is says no more than the organisation's own calls do: the word for another's is the one
  -- for a number that rests.
  select p.batch_id, p.position, p.turn, p.updated_at,
         case when r.until is null
               and (exists (select from won w where w.phone_number = p.phone_number)
                    or exists (select from calls k
                                where k.provider = :provider and k.phone_number = p.phone_number
                                  and k.ended_at is null
                                  and k.organization_id = :organization_id))
              then 'duplicate_number_blocked' else 'number_resting' end as wait_reason,
         coalesce(r.until, clock_timestamp() + interval '30 seconds') as due_at,
         case when r.until is null then p.phone_number end as blocked_number
    from picked p
    left join resting r on r.batch_id = p.batch_id and r.position = p.position
   where not exists (
     select from won w where w.batch_id = p.batch_id and w.position = p.position)
),
parked as (
  update contacts c
     set wait_reason = l.wait_reason
    from lost l
   where c.batch_id = l.batch_id and c.position = l.position
),
queued as (
  insert into due_contacts as d
    (batch_id, position, turn, due_at, is_due, since, blocked_number)
  select l.batch_id, l.position, l.turn, l.due_at, false, l.updated_at, l.blocked_number
    from lost l
  on conflict (batch_id, position) do update
    set due_at = excluded.due_at, is_due = false, blocked_number = excluded.blocked_number
),
taken as (
  delete from due_contacts d
   using won w
   where d.batch_id = w.batch_id and d.position = w.position
),
advanced as (
  update batch_cursors k
     set next_position = greatest(k.next_position, least(w.beyond, w.behind_the_last)),
         last_claimed_at = case when exists (select from picked p where p.batch_id = w.batch_id)
                                then clock_timestamp() else k.last_claimed_at end
    from (select b.batch_id, b.beyond,
                 (select s.total_contacts + 1 from batches s where s.id = b.batch_id)
                   as behind_the_last
            from bounds b) as w
   where k.batch_id = w.batch_id
),
counted as (
  insert into call_counters as k (campaign_id, counted, slot, calls)
  select :campaign_id, v.counted, pg_backend_pid() % 16, count(*)
    from won w
   cross join lateral (
     values ('attempts'), (case when w.kind = 'follow_up' then 'follow_up_attempts' end)
   ) as v (counted)
   where v.counted is not null
   group by v.counted
   order by v.counted
  on conflict (campaign_id, counted, slot) do update set calls = k.calls + excluded.calls
),
turned as (
  update campaigns
     set caller_ids_used = caller_ids_used + (select count(*) from won)
   where id = :campaign_id and exists (select from won)
)
select w.id, w.batch_id, w.position, w.kind, w.attempt, w.phone_number, w.from_number,
       w.requested_at
  from won w
 order by case w.kind when 'follow_up' then 0 when 'retry' then 1 else 2 end, w.batch_id,
          w.position;

-- name: has_called_too_soon
-- Whether a number just claimed was called meanwhile, from beginning to end. A statement of its own,
-- after the claim: its snapshot is younger than the claim's rows, which keep others off the numbers.
select exists (
  select
    from unnest(:call_ids::uuid[]) as n (id)
   cross join lateral (
     select w.id, w.organization_id, w.batch_id, w.position, w.kind, w.phone_number,
            w.requested_at - :number_gap::interval as quiet_since
       from calls w
      where w.id = n.id
     offset 0) as w
   cross join lateral (
     select c.tries
       from contacts c
      where c.batch_id = w.batch_id and c.position = w.position
     offset 0) as c
   cross join lateral (
     select
       from calls k
      where k.phone_number = w.phone_number and k.organization_id = w.organization_id
        and k.id <> w.id and k.attempt is not null and k.ended_at > w.quiet_since
        and (k.batch_id <> w.batch_id
             or (k.position = w.position and w.kind = 'follow_up' and c.tries = 1))
     offset 0) as k);

-- name: find_unsent_claims
-- What this worker claimed and was never told of: the answer to the commit was lost. It claims one
-- after the other, so these are later than the last claim it was told of; what looks unsent from
-- before that was sent, and a restored database has forgotten what came of it.
select id
  from calls
 where worker_id = :worker_id and state = 'placing' and ended_at is null
   and requested_at > coalesce(:told_until::timestamptz, '-infinity');

-- name: promote_due
-- What fell due becomes claimable, in a set; gives the campaigns that may have something to dial.
-- It waits for nobody: a cancel that holds a million contacts must not meet it in a deadlock.
with ripe as materialized (
  -- In a subquery the instant is one value, which an index can be searched for.
  select d.batch_id, d.position
    from due_contacts d
    join contacts c on c.batch_id = d.batch_id and c.position = d.position
   where not d.is_due and d.due_at <= (select clock_timestamp())
   order by d.due_at
   limit :at_most::integer
     for update of d, c skip locked
),
promoted as (
  update due_contacts d
     set is_due = true, blocked_number = null
    from ripe r
   where d.batch_id = r.batch_id and d.position = r.position
),
cleared as (
  update contacts c
     set wait_reason = null
    from ripe r
   where c.batch_id = r.batch_id and c.position = r.position
)
select distinct b.campaign_id, (select count(*) from ripe)::integer as promoted
  from ripe r
  join batches b on b.id = r.batch_id;

-- name: start_batches
-- Scheduled batches whose start has come; gives their campaigns.
update batches
   set status = 'in_progress', ready_at = clock_timestamp(), updated_at = clock_timestamp()
 where status = 'pending' and scheduled_start <= clock_timestamp()
returning campaign_id;

-- name: read_expired_batches
-- Batches that ought to be expired now.
select b.id
  from batches b
 where b.status in ('pending', 'in_progress', 'paused') and b.ends_at <= clock_timestamp()
 order by b.ends_at
 limit 100;

-- name: read_next_instant
-- Seconds until the next thing falls due by itself: a contact, a start, an end.
select extract(epoch from least(
         (select min(due_at) from due_contacts where not is_due),
         (select min(scheduled_start) from batches where status = 'pending'),
         (select min(ends_at) from batches where status in ('pending', 'in_progress', 'paused'))
       ) - clock_timestamp())::float8;

-- name: read_dialable_campaigns
-- Campaigns with a batch in progress that still has a contact to take; the sweep wakes them.
select distinct b.campaign_id
  from batches b
  join batch_cursors k on k.batch_id = b.id
 where b.status = 'in_progress'
   and (k.next_position <= b.total_contacts
        or exists (select from due_contacts d where d.batch_id = b.id and d.is_due));

-- name: close_finished_batches
-- Batches whose last contact is final and which nobody closed; the sweep's safety net.
update batches b
   set status = 'completed', paused_by = null, pause_reason = null,
       completed_at = clock_timestamp(), updated_at = clock_timestamp()
 where b.status in ('in_progress', 'paused')
   and not exists (
     select from batch_counters k
      where k.batch_id = b.id
        and k.status in ('pending', 'dispatched', 'in_progress', 'retrying', 'followup_scheduled')
      group by k.batch_id having sum(k.contacts) > 0)
returning b.id;
