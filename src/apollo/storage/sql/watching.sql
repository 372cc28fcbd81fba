-- name: take_turn
-- One worker looks for all; gives a row to the one whose turn it is.
insert into providers as p (provider, watched_at)
values (:provider, clock_timestamp())
on conflict (provider) do update set watched_at = clock_timestamp()
 where p.watched_at is null
    or p.watched_at < clock_timestamp() - make_interval(secs => :patience_s::float8)
returning p.provider;

-- name: open_calls
-- Open calls of a provider, within the hour that its list remembers them.
select id, batch_id, provider_call_id, heard_at is not null as was_heard,
       requested_at < clock_timestamp() - interval '10 seconds' as is_due
  from calls
 where ended_at is null and provider = :provider and provider_call_id is not null
   and coalesce(answered_at, ringing_at, heard_at, requested_at)
       > clock_timestamp() - interval '55 minutes'
 limit 5000;

-- name: routes
-- How registered agents are reached.
select application_sid, call_hook
  from agents
 order by updated_at desc
 limit 20;
