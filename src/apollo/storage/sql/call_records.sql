-- name: read_calls_of_contacts
-- Every call to these contacts, oldest first; a released one was never made.
select k.id, k.position, k.attempt, k.kind, k.state, k.outcome, k.from_number,
       k.provider_call_id, k.requested_at, k.ringing_at, k.answered_at, k.ended_at,
       k.duration_seconds, k.sip_status, k.sip_reason, k.hangup_by, k.hangup_reason,
       k.reached, k.recording_url, k.transcript, k.summary, k.sentiment, k.total_cost
  from calls k
 where k.batch_id = :batch_id and k.position = any(:positions::integer[])
   and k.attempt is not null
 order by k.position, k.attempt;

-- name: read_last_calls_of_contacts
-- The newest call to each of these contacts.
select k.*
  from unnest(:positions::integer[]) as p (position)
 cross join lateral (
   select r.id, r.position, r.attempt, r.kind, r.state, r.outcome, r.from_number,
          r.provider_call_id, r.requested_at, r.ringing_at, r.answered_at, r.ended_at,
          r.duration_seconds, r.sip_status, r.sip_reason, r.hangup_by, r.hangup_reason,
          r.reached, r.recording_url, r.transcript, r.summary, r.sentiment, r.total_cost
     from calls r
    where r.batch_id = :batch_id and r.position = p.position and r.attempt is not null
    order by r.attempt desc
    limit 1) as k;

-- name: read_call
-- One call with whom it is to, and what the agent was told.
select k.id, k.campaign_id, k.batch_id, k.position, k.attempt, k.kind, k.state, k.outcome,
       k.phone_number, k.from_number, k.provider_call_id, k.requested_at, k.ringing_at,
       k.answered_at, k.ended_at, k.duration_seconds, k.sip_status, k.sip_reason, k.hangup_by,
       k.hangup_reason, k.reached, k.recording_url, k.transcript, k.summary, k.sentiment, k.total_cost,
       p.agent_id, b.call_context, p.default_call_variables || c.call_variables as variables
  from calls k
  join campaigns p on p.id = k.campaign_id
  join batches b on b.id = k.batch_id
  join contacts c on c.batch_id = k.batch_id and c.position = k.position
 where k.id = :call_id and k.organization_id = :organization_id and k.attempt is not null;

-- name: read_calls_to_number
-- Every call to a number, newest first, in all batches or in one.
select k.id, k.campaign_id, k.batch_id, k.position, k.attempt, k.kind, k.state, k.outcome,
       k.phone_number, k.from_number, k.provider_call_id, k.requested_at, k.ringing_at,
       k.answered_at, k.ended_at, k.duration_seconds, k.sip_status, k.sip_reason, k.hangup_by,
       k.hangup_reason, k.reached, k.recording_url, k.transcript, k.summary, k.sentiment, k.total_cost
  from calls k
 where k.phone_number = :phone_number and k.organization_id = :organization_id
   and k.attempt is not null
   and (:batch_id::uuid is null or k.batch_id = :batch_id)
   and (:outcomes::text[] is null or k.outcome = any(:outcomes)
        or (k.outcome is null and k.state = any(:states::text[])))
   and (:created_after::timestamptz is null or k.requested_at >= :created_after)
   and (:created_before::timestamptz is null or k.requested_at < :created_before)
   and (:after::uuid is null or exists (
         select from calls a
          where a.id = :after and a.organization_id = :organization_id
            and (k.requested_at < a.requested_at
                 or (k.requested_at = a.requested_at and k.id > a.id))))
 order by k.requested_at desc, k.id
offset :skip
 limit :limit;

-- name: read_calls_of_batch
-- Every call of a batch, in upload order and then by attempt: the order of the index.
select k.id, k.campaign_id, k.batch_id, k.position, k.attempt, k.kind, k.state, k.outcome,
       k.phone_number, k.from_number, k.provider_call_id, k.requested_at, k.ringing_at,
       k.answered_at, k.ended_at, k.duration_seconds, k.sip_status, k.sip_reason, k.hangup_by,
       k.hangup_reason, k.reached, k.recording_url, k.transcript, k.summary, k.sentiment, k.total_cost
  from calls k
 where k.batch_id = :batch_id and k.organization_id = :organization_id
   and k.attempt is not null
   and (:outcomes::text[] is null or k.outcome = any(:outcomes)
        or (k.outcome is null and k.state = any(:states::text[])))
   and (:created_after::timestamptz is null or k.requested_at >= :created_after)
   and (:created_before::timestamptz is null or k.requested_at < :created_before)
   and (:after::uuid is null or exists (
         select from calls a
          where a.id = :after and a.batch_id = :batch_id
            and (k.position, k.attempt) > (a.position, a.attempt)))
 order by k.position, k.attempt
offset :skip
 limit :limit;

-- name: lock_open_call
-- The call a contact is on; before the contact in the lock order.
select id
  from calls
 where batch_id = :batch_id and position = :position and ended_at is null
   for update;

-- name: promise_follow_up
-- Whoever ends this call will find the promise there.
update calls set follow_up_at = :at, version = version + 1 where id = :call_id;

-- name: has_answered_call
-- Whether this contact was ever reached.
select exists (
  select from calls
   where batch_id = :batch_id and position = :position and outcome = 'completed');

-- name: read_attempts
-- Every attempt at one contact with what was decided, released ones too: those were never sent.
select id, attempt, kind, state, outcome, from_number, provider, provider_call_id, requested_at,
       heard_at, ringing_at, answered_at, ended_at, deadline_at, duration_seconds, sip_status,
       sip_reason, hangup_by, hangup_reason, evidence, window_opens_at, window_closes_at,
       prior_due_at, batch_open_calls, batch_limit, campaign_open_calls, campaign_limit
  from calls
 where batch_id = :batch_id and position = :position
 order by requested_at, id;
