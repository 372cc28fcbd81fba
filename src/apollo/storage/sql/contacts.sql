-- name: read_page
-- Upload order. Positions have no holes, so a page is a range, whatever its depth. Due times are
-- looked up one by one (`offset 0`): joined, a planner that takes batches for small ones would go
-- through all that waits in the batch, for each contact.
select c.position, c.phone_number, c.call_variables, c.status, c.wait_reason, c.retry_count,
       c.follow_up_count, c.last_attempted_at, d.due_at, d.is_due
  from contacts c
  left join lateral (select w.due_at, w.is_due
                       from due_contacts w
                      where w.batch_id = c.batch_id and w.position = c.position
                     offset 0) as d on true
 where c.batch_id = :batch_id
   and c.position > :skip and c.position <= :skip + :limit
 order by c.position;

-- name: read_page_filtered
-- No index has the status (it would cost every update), so this walks the batch in order; a number
-- has an index. A position never changes: `after` goes on where a page ended, whatever moved.
select c.position, c.phone_number, c.call_variables, c.status, c.wait_reason, c.retry_count,
       c.follow_up_count, c.last_attempted_at, d.due_at, d.is_due
  from contacts c
  left join lateral (select w.due_at, w.is_due
                       from due_contacts w
                      where w.batch_id = c.batch_id and w.position = c.position
                     offset 0) as d on true
 where c.batch_id = :batch_id and c.position > :after
   and (:statuses::text[] is null or c.status = any(:statuses))
   and (:phone_number::text is null or c.phone_number = :phone_number)
   and (:updated_since::timestamptz is null or c.updated_at >= :updated_since)
 order by c.position
offset :skip
 limit :limit;

-- name: count_filtered
-- How many contacts of a batch the filters let through.
select count(*)
  from contacts c
 where c.batch_id = :batch_id
   and (:statuses::text[] is null or c.status = any(:statuses))
   and (:phone_number::text is null or c.phone_number = :phone_number)
   and (:updated_since::timestamptz is null or c.updated_at >= :updated_since);

-- name: read_stretch
-- The contacts at these places that pass the filter: a stretch of bounded length, so that a file of
-- few contacts out of millions is read in many short statements.
select c.position, c.phone_number, c.call_variables, c.status, c.retry_count, c.follow_up_count,
       c.last_attempted_at
  from contacts c
 where c.batch_id = :batch_id
   and c.position > :after and c.position <= :after + :length
   and (:statuses::text[] is null or c.status = any(:statuses))
   and (:phone_number::text is null or c.phone_number = :phone_number)
   and (:updated_since::timestamptz is null or c.updated_at >= :updated_since)
 order by c.position;

-- name: read_last_position
-- How long a batch is; positions have no holes.
select coalesce(max(position), 0) from contacts where batch_id = :batch_id;

-- name: lock_contact
-- A contact with its due time; the caller holds the campaign, the batch and its open call.
select c.position, c.phone_number, c.status, c.wait_reason, c.attempts, c.tries, c.retry_count,
       c.follow_up_count, c.carrier_failures, c.promises, c.is_withdrawn, c.is_reached,
       c.last_attempted_at, c.updated_at,
       d.turn, d.due_at
  from contacts c
  left join lateral (select w.turn, w.due_at
                       from due_contacts w
                      where w.batch_id = c.batch_id and w.position = c.position
                     offset 0) as d on true
 where c.batch_id = :batch_id and c.position = :position
   for update of c;

-- name: withdraw_contact
-- Nobody calls this contact again. Who waits is skipped at once; a call goes on, and none follows.
update contacts
   set is_withdrawn = true,
       status = case when status in ('pending', 'retrying', 'followup_scheduled')
                     then 'skipped' else status end,
       updated_at = case when status in ('pending', 'retrying', 'followup_scheduled')
                         then :now::timestamptz else updated_at end,
       wait_reason = null
 where batch_id = :batch_id and position = :position;

-- name: drop_due_contact
-- It waits for nothing any more.
delete from due_contacts where batch_id = :batch_id and position = :position;

-- name: pass_skipped
-- Puts the cursor behind contacts at its place that are not to be called.
update batch_cursors k
   set next_position = coalesce(
         (select c.position
            from contacts c
           where c.batch_id = k.batch_id and c.position >= k.next_position
             and c.status = 'pending'
           order by c.position
           limit 1),
         (select b.total_contacts + 1 from batches b where b.id = k.batch_id))
 where k.batch_id = :batch_id and k.next_position = :position;

-- name: change_variables
-- What the agent is told from the next call on; no status changes.
update contacts
   set call_variables = :call_variables
 where batch_id = :batch_id and position = :position;
