-- name: calls
-- Every row of `calls` since an instant, released ones too.
select id, batch_id, position, campaign_id, provider, provider_call_id, phone_number, kind, state,
       outcome, hangup_reason, requested_at, window_opens_at, window_closes_at
  from calls
 where requested_at >= :since
 order by requested_at;

-- name: campaigns
-- What every campaign allows.
select id, concurrency_limit, working_hours, working_hours_enforced, timezone, retry_policy
  from campaigns;

-- name: batches
-- What batches allow of their own, and by how much their counters differ from a recount: the sum
-- over the statuses of what is too many.
select b.id, b.campaign_id, b.concurrency_limit, b.max_retries_override,
       (select coalesce(sum(greatest(coalesce(r.contacts, 0) - coalesce(k.contacts, 0), 0)), 0)
          from (select c.status, count(*) as contacts
                  from contacts c
                 where c.batch_id = b.id
                 group by c.status) as r
          full join (select n.status, sum(n.contacts) as contacts
                       from batch_counters n
                      where n.batch_id = b.id
                      group by n.status) as k using (status))::bigint
         + abs(b.total_contacts - (select coalesce(sum(n.contacts), 0)
                                     from batch_counters n
                                    where n.batch_id = b.id))::bigint as off_by
  from batches b;

-- name: changes
-- Who did what to campaigns and batches, in order.
select at, action, campaign_id, batch_id
  from actions
 where campaign_id is not null
 order by at, id;

-- name: lost_contacts
-- Contacts that are not final, and have neither a place before the cursor, nor a due time, nor an
-- open call; and any such contact in a batch that is over.
select c.batch_id, c.position
  from contacts c
  join batches b on b.id = c.batch_id
  join batch_cursors k on k.batch_id = c.batch_id
 where c.status in ('pending', 'dispatched', 'in_progress', 'retrying', 'followup_scheduled')
   and not exists (
     select from calls o
      where o.batch_id = c.batch_id and o.position = c.position and o.ended_at is null)
   and (b.status not in ('pending', 'in_progress', 'paused')
        or not (c.status = 'pending' and c.position >= k.next_position)
           and not exists (select from due_contacts d
                            where d.batch_id = c.batch_id and d.position = c.position))
 order by c.batch_id, c.position
 limit 1000;

-- name: count_contacts
-- How many contacts there are.
select coalesce(sum(total_contacts), 0)::bigint from batches;
