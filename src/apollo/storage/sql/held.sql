-- name: held_calls
-- Calls of unknown outcome whose contact waits for a person, the oldest first.
select k.id, k.organization_id, k.campaign_id, k.batch_id, k.position, k.attempt, k.phone_number,
       k.from_number, k.requested_at, k.ended_at, b.status as batch_status
  from calls k
  join contacts c on c.batch_id = k.batch_id and c.position = k.position
  join batches b on b.id = k.batch_id
 where k.state = 'ended' and k.hangup_reason = 'outcome_unknown'
   and c.status = 'failed' and c.attempts = k.attempt
   and (:organization_id::text is null or k.organization_id = :organization_id)
 order by k.requested_at, k.id
 limit :at_most::integer;

-- name: count_unknown
-- Calls that are still looked for at the provider.
select count(*)
  from calls
 where ended_at is null and state = 'unknown'
   and (:organization_id::text is null or organization_id = :organization_id);

-- name: last_call
-- The last call to a contact.
select id
  from calls
 where batch_id = :batch_id and position = :position and attempt is not null
 order by attempt desc
 limit 1;

-- name: find_call
-- Where a call belongs.
select id, organization_id, campaign_id, batch_id
  from calls
 where id = :call_id;
