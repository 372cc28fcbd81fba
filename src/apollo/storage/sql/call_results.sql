-- name: remember
-- Remembers a result of a call, whose row the caller has locked. `is_new`: it never came before.
-- `is_newest`: nothing that its sender signed later was there.
with before as (
  select max(sent_at) as sent_at from call_results where call_id = :call_id
),
added as (
  insert into call_results (call_id, content_hash, sent_at, recorded_at)
  values (:call_id, :content_hash, :sent_at, clock_timestamp())
  on conflict (call_id, content_hash) do nothing
  returning call_id
)
select exists (select from added) as is_new,
       coalesce(:sent_at::timestamptz >= (select sent_at from before), true) as is_newest;

-- name: write
-- What the agent said about a call; what it leaves out stays as it is.
update calls
   set transcript = coalesce(:transcript::text, transcript),
       summary = coalesce(:summary::text, summary),
       sentiment = coalesce(:sentiment::text, sentiment),
       recording_url = coalesce(:recording_url::text, recording_url),
       hangup_by = coalesce(:hangup_by::text, hangup_by),
       hangup_reason = coalesce(:hangup_reason::text, hangup_reason),
       total_cost = coalesce(:total_cost::numeric, total_cost),
       follow_up_at = coalesce(:follow_up_at::timestamptz, follow_up_at),
       version = version + 1
 where id = :call_id;

-- name: fill
-- What it said before what is known already: that only fills what has not been said since.
update calls
   set transcript = coalesce(transcript, :transcript::text),
       summary = coalesce(summary, :summary::text),
       sentiment = coalesce(sentiment, :sentiment::text),
       recording_url = coalesce(recording_url, :recording_url::text),
       hangup_by = coalesce(hangup_by, :hangup_by::text),
       hangup_reason = coalesce(hangup_reason, :hangup_reason::text),
       total_cost = coalesce(total_cost, :total_cost::numeric),
       follow_up_at = coalesce(follow_up_at, :follow_up_at::timestamptz),
       version = version + 1
 where id = :call_id;

-- name: forget_old
-- Removes some of the results that are older than is wanted.
delete from call_results
 where ctid = any(array(
   select ctid from call_results
    where recorded_at < now() - :kept_for::interval
    limit :at_most
      for update skip locked));
