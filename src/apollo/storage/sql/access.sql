-- name: make_organization
-- Makes the organisation unless it is there.
insert into organizations (id) values (:organization_id)
on conflict do nothing;

-- name: add_token
-- Stores a new token by its hash.
insert into tokens (organization_id, name, hash, shown, created_at)
values (:organization_id, :name, :hash, :shown, :created_at)
returning id;

-- name: find_token
-- Finds a token that is in force, and tells whether its last use is worth writing down again.
select id, organization_id, name,
       coalesce(last_used_at <= :seen_before::timestamptz, true) as is_use_due
  from tokens
 where hash = :hash and revoked_at is null;

-- name: note_use
-- Writes down that a token was used; the guard keeps several processes to one write.
update tokens
   set last_used_at = :used_at
 where id = :id and (last_used_at is null or last_used_at <= :seen_before::timestamptz);

-- name: list_tokens
-- Every token of one organisation, or of all.
select id, organization_id, name, shown, created_at, last_used_at, revoked_at
  from tokens
 where :organization_id::text is null or organization_id = :organization_id
 order by organization_id, id;

-- name: revoke_token
-- Revokes by id or by hash; a token revoked before keeps its first time.
update tokens
   set revoked_at = coalesce(revoked_at, :at)
 where id = :id::bigint or hash = :hash::bytea
returning id, organization_id, name, shown, created_at, last_used_at, revoked_at;
