-- name: read_batches_beside
-- Batches in which a number of a new batch may be to be called, or have been reached: those of the
-- campaign, or of the organisation (no campaign), that live, or ended not long ago.
select b.id, b.total_contacts
  from batches b
 where b.organization_id = :organization_id and b.id <> :batch_id
   and (:campaign_id::uuid is null or b.campaign_id = :campaign_id)
   and (b.status in ('pending', 'in_progress', 'paused')
        or coalesce(b.completed_at, b.updated_at) >= clock_timestamp() - :within::interval);

-- name: find_repeated_numbers
-- Which of these numbers are still to be called in one of the batches given, or were reached there.
select n.nth::integer as nth, t.batch_id, t.is_reached
  from unnest(:numbers::text[]) with ordinality as n (phone_number, nth)
 cross join lateral (
   select c.batch_id, c.is_reached or c.status = 'completed' as is_reached
     from contacts c
    where c.phone_number = n.phone_number
      and c.batch_id = any(:batch_ids::uuid[])
      and (c.is_reached or c.status = 'completed'
           or c.status in ('pending', 'dispatched', 'in_progress', 'retrying',
                           'followup_scheduled'))
    order by 2, 1
   offset 0
    limit 1) as t;

-- name: find_numbers_of_batch
-- Which of these numbers a batch has already, whatever became of them.
select n.nth::integer as nth
  from unnest(:numbers::text[]) with ordinality as n (phone_number, nth)
 cross join lateral (
   select from contacts c
    where c.phone_number = n.phone_number and c.batch_id = :batch_id
   offset 0
    limit 1) as t;

-- name: has_barred_numbers
-- Whether the organisation has called any number that is not to be called again.
select exists (
  select from calls
   where organization_id = :organization_id and hangup_reason in ('bad_number', 'unwanted'));

-- name: find_barred_numbers
-- Which of these numbers do not exist, or do not want to be called: told by the network when the
-- organisation called them. A number that was answered later exists after all.
select n.nth::integer as nth, t.hangup_reason, t.sip_status, t.ended_at
  from unnest(:numbers::text[]) with ordinality as n (phone_number, nth)
 cross join lateral (
   select k.hangup_reason, k.sip_status, k.ended_at
     from calls k
    where k.organization_id = :organization_id and k.phone_number = n.phone_number
      and k.hangup_reason in ('bad_number', 'unwanted')
      and (k.hangup_reason = 'unwanted'
           or not exists (
             select from calls l
              where l.phone_number = n.phone_number and l.organization_id = :organization_id
                and l.outcome = 'completed' and l.requested_at > k.requested_at))
    order by k.hangup_reason desc, k.ended_at desc
   offset 0
    limit 1) as t;

-- name: lock_uploads
-- One upload of the organisation after the other, from here to its end.
select pg_advisory_xact_lock(x'41504F4C'::integer, hashtext(:organization_id));

-- name: skip_repeats
-- Contacts of a new batch that came into another one while they were copied are not called.
with others as materialized (
  select c.phone_number
    from unnest(:batch_ids::uuid[], :after_positions::integer[]) as o (batch_id, position)
   cross join lateral (
     select c.phone_number
       from contacts c
      where c.batch_id = o.batch_id and c.position > o.position
        and (c.is_reached or c.status = 'completed'
             or c.status in ('pending', 'dispatched', 'in_progress', 'retrying',
                             'followup_scheduled'))
     offset 0) as c
)
update contacts n
   set status = 'skipped', updated_at = clock_timestamp()
  from others o
 where n.phone_number = o.phone_number and n.batch_id = :batch_id and n.status = 'pending'
   and n.position > :after_position
returning n.position;
