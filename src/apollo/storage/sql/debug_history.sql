-- name: try_to_be_the_one
-- One worker records for all, while its transaction lasts.
select pg_try_advisory_xact_lock(x'41504F4C4C4F48'::bigint);

-- name: live_batches
-- A few of the batches that may dial, after a given one, in the order of the index of live ones.
select id, campaign_id, organization_id
  from batches
 where status in ('pending', 'in_progress', 'paused')
   and (campaign_id, id) > (:after_campaign::uuid, :after::uuid)
 order by campaign_id, id
 limit :at_most;

-- name: note_verdicts
-- Writes down what differs from what was written last.
insert into debug_history (batch_id, since, verdict, reason)
select n.batch_id, :now, n.verdict, n.reason
  from unnest(:batch_ids::uuid[], :verdicts::text[], :reasons::text[])
    as n (batch_id, verdict, reason)
  left join lateral (
    select h.verdict, h.reason
      from debug_history h
     where h.batch_id = n.batch_id
     order by h.since desc
     limit 1) as last on true
 where (n.verdict, n.reason) is distinct from (last.verdict, last.reason)
on conflict (batch_id, since) do nothing;

-- name: read_history
-- What was in force at :start, and every change up to :end, oldest first.
(select since, verdict, reason
   from debug_history
  where batch_id = :batch_id and since <= :start
  order by since desc
  limit 1)
union all
(select since, verdict, reason
   from debug_history
  where batch_id = :batch_id and since > :start and since < :end
  order by since
  limit :at_most);

-- name: read_actions
-- Who did what to the batch, its campaign and its whole organisation, oldest first. The calls that
-- a recovery settled are everybody's: no organisation is shown them.
select at, actor, action, detail, scope
  from ((select at, actor, action, detail, 'batch' as scope
           from actions
          where batch_id = :batch_id and at >= :start and at < :end
          order by at desc
          limit :at_most)
        union all
        (select at, actor, action, detail, 'campaign'
           from actions
          where campaign_id = :campaign_id and batch_id is null and at >= :start and at < :end
          order by at desc
          limit :at_most)
        union all
        (select at, actor, action, detail - 'settled', 'organization'
           from actions
          where organization_id = :organization_id and campaign_id is null and batch_id is null
            and at >= :start and at < :end
          order by at desc
          limit :at_most)) as a
 order by at;

-- name: read_clock
-- The clock by which verdicts and changes were dated.
select clock_timestamp();
