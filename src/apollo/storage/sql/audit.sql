-- name: calls
-- Every row of `calls` since an instant, released ones too.
select id, batch_id, position, campaign_id, provider, provider_call_id, phone_number, kind, state,
       outcome, hangup_reason, evidence, reached, requested_at, window_opens_at, window_closes_at
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

-- name: changed_finals
-- Final contacts that do not show what their calls came to, and calls that ended twice: somebody
-- changed what was final. A corrected outcome shows in the contact whose last call it is. A contact
-- that never had a call was settled without one.
select c.batch_id, c.position, 'its status is ' || c.status || ', its last call ended as '
         || coalesce(last.outcome, 'nothing') as what
  from contacts c
  left join lateral (
    select k.outcome
      from calls k
     where k.batch_id = c.batch_id and k.position = c.position and k.outcome is not null
     order by k.requested_at desc
     limit 1) as last on true
 where case c.status
         when 'completed' then not exists (
           select from calls k
            where k.batch_id = c.batch_id and k.position = c.position
              and k.outcome = 'completed')
         when 'max_retries_reached' then coalesce(last.outcome = 'completed', true)
         when 'failed' then last.outcome <> c.status
         when 'busy' then last.outcome is distinct from c.status
         when 'no_answer' then last.outcome is distinct from c.status
         when 'voicemail' then last.outcome is distinct from c.status
         else false
       end
 union all
select k.batch_id, k.position, count(*) || ' webhooks ended one call, and none is a correction'
  from call_events e
  join calls k on k.id = e.execution_id
 where e.verdict = 'applied' and e.call_status in ('completed', 'failed', 'busy', 'no-answer')
 group by k.id, k.batch_id, k.position
having count(*) > 1
 order by 1, 2
 limit 1000;

-- name: count_contacts
-- How many contacts there are.
select coalesce(sum(total_contacts), 0)::bigint from batches;

-- name: settled
-- The provider's ids of calls that a confirmed recovery found to belong to nobody.
select array_agg(name)
  from installation, jsonb_array_elements_text(recovery_evidence->'settled') as name;
