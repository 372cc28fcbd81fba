-- name: reserve_key
-- Reserves an idempotency key: a new one, one whose holder died, or one older than a day.
-- No row back: somebody holds it, or it has its answer.
insert into idempotency_keys as k
  (organization_id, path, key, body_hash, lease_until, created_at)
values (:organization_id, :path, :key, :body_hash,
        clock_timestamp() + :lease::interval, clock_timestamp())
on conflict (organization_id, path, key) do update
   set body_hash = excluded.body_hash, lease_until = excluded.lease_until,
       created_at = excluded.created_at, status_code = null, answer = null
 where k.created_at <= excluded.created_at - :kept_for::interval
    or (k.status_code is null and k.lease_until <= excluded.created_at)
returning lease_until;

-- name: read_key
-- What is known of a key.
select body_hash, status_code, answer
  from idempotency_keys
 where organization_id = :organization_id and path = :path and key = :key;

-- name: extend_lease
-- Goes on holding a key; no row back: somebody else took it over.
update idempotency_keys
   set lease_until = clock_timestamp() + :lease::interval
 where organization_id = :organization_id and path = :path and key = :key
   and lease_until = :lease_until and status_code is null
returning lease_until;

-- name: store_answer
-- Writes the first answer down; nothing is changed when somebody else took the key over.
update idempotency_keys
   set body_hash = :body_hash, status_code = :status_code, answer = :answer
 where organization_id = :organization_id and path = :path and key = :key
   and lease_until = :lease_until and status_code is null;

-- name: forget_key
-- Gives a key back without an answer.
delete from idempotency_keys
 where organization_id = :organization_id and path = :path and key = :key
   and lease_until = :lease_until and status_code is null;

-- name: forget_old_keys
-- Removes what nobody may replay any more.
delete from idempotency_keys
 where created_at <= clock_timestamp() - :kept_for::interval;
