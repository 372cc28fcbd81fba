-- Calls to compare those of a batch with: a few of each place, so that it costs the same at any size.

-- name: neighbours
-- Calls of other batches to compare with, open and just over: of the five newest others of the
-- campaign, and of a few live batches of other campaigns.
with others as (
  (select o.id, o.campaign_id, o.organization_id
     from batches o
    where o.campaign_id = (select m.campaign_id from batches m where m.id = :batch_id)
      and o.id <> :batch_id
    order by o.created_at desc, o.id
    limit 5)
  union all
  (select o.id, o.campaign_id, o.organization_id
     from batches o
    where o.status in ('pending', 'in_progress', 'paused')
      and o.campaign_id <> (select m.campaign_id from batches m where m.id = :batch_id)
    order by o.campaign_id, o.id
    limit 20)
)
select o.campaign_id, o.id as batch_id, o.organization_id = :organization_id as is_ours,
       c.agent_id, k.from_number, k.requested_at, k.heard_at, k.ringing_at, k.answered_at,
       k.ended_at, k.outcome, k.sip_status, coalesce(k.hangup_by, '') as hangup_by,
       coalesce(k.hangup_reason, '') as hangup_reason, k.duration_seconds as duration_s,
       coalesce(k.evidence, '') as evidence
  from others o
  join campaigns c on c.id = o.campaign_id
 cross join lateral (
   (select e.from_number, e.requested_at, e.heard_at, e.ringing_at, e.answered_at, e.ended_at,
           e.outcome, e.sip_status, e.hangup_by, e.hangup_reason, e.duration_seconds, e.evidence
      from calls e
     where e.batch_id = o.id and e.outcome is not null
       and e.ended_at > (select coalesce(:now::timestamptz, clock_timestamp())) - interval '15 minutes'
     order by e.ended_at desc
     limit 12)
   union all
   (select e.from_number, e.requested_at, e.heard_at, e.ringing_at, e.answered_at, e.ended_at,
           e.outcome, e.sip_status, e.hangup_by, e.hangup_reason, e.duration_seconds, e.evidence
      from calls e
     where e.campaign_id = o.campaign_id and e.batch_id = o.id and e.ended_at is null
       and e.state in ('accepted', 'ringing', 'answered')
     order by e.requested_at desc
     limit 12)) as k;

-- name: decided_calls
-- The last first calls that reached a phone, newest first, in the order in which people are called.
-- Those placed after one that still rings are left out: who picks up is known sooner than who does
-- not, so the last to end are no fair sample. Who talks has picked up.
select k.from_number, k.phone_number, k.requested_at,
       k.outcome is not distinct from 'no_answer' as rang_out
  from calls k
 where k.batch_id = :batch_id and k.kind = 'first'
   and (k.answered_at is not null or k.outcome in ('completed', 'busy', 'no_answer'))
   and k.requested_at < coalesce(
     (select min(r.requested_at)
        from calls r
       where r.batch_id = :batch_id and r.kind = 'first' and r.ended_at is null
         and r.answered_at is null
          and r.requested_at > (select coalesce(:now::timestamptz, clock_timestamp())) - :rings_for::interval),
     'infinity')
 order by k.position desc, k.attempt desc
 limit 200;

-- name: decided_earlier
-- Those before the last ones, evenly over the batch: a few from each of ten places on.
select k.from_number, k.phone_number, k.requested_at, k.rang_out
  from (select coalesce(min(l.position), 1) - 1 as before
          from (select d.position
                  from calls d
                 where d.batch_id = :batch_id and d.kind = 'first'
                   and (d.answered_at is not null or d.outcome in ('completed', 'busy', 'no_answer'))
                 order by d.position desc, d.attempt desc
                 limit 200) as l) as last
 cross join generate_series(0, 9) as n
 cross join lateral (
   select e.from_number, e.phone_number, e.requested_at,
          e.outcome is not distinct from 'no_answer' as rang_out
     from calls e
    where e.batch_id = :batch_id and e.kind = 'first'
      and e.position >= 1 + last.before::bigint * n / 10
      and e.position < 1 + last.before::bigint * (n + 1) / 10
      and (e.answered_at is not null or e.outcome in ('completed', 'busy', 'no_answer'))
    order by e.position, e.attempt
    limit 40) as k;

-- name: decided_elsewhere
-- The last of the five newest other batches of the campaign.
select k.from_number, k.phone_number, k.requested_at, k.rang_out
  from (select o.id
          from batches o
         where o.campaign_id = (select m.campaign_id from batches m where m.id = :batch_id)
           and o.id <> :batch_id
         order by o.created_at desc, o.id
         limit 5) as b
 cross join lateral (
   select e.from_number, e.phone_number, e.requested_at,
          e.outcome is not distinct from 'no_answer' as rang_out
     from calls e
    where e.batch_id = b.id and e.kind = 'first'
      and e.requested_at < (select coalesce(:now::timestamptz, clock_timestamp())) - :rings_for::interval
      and (e.answered_at is not null or e.outcome in ('completed', 'busy', 'no_answer'))
    order by e.position desc, e.attempt desc
    limit 60) as k;
