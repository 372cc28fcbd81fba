-- name: publish_events
-- Starts or ends the writing of the outbox.
select publish_events(:wanted::boolean);

-- name: lead
-- One relay at a time keeps the order; the lock ends with the connection that holds it.
select pg_try_advisory_lock(x'41504F4C4C4F52'::bigint);

-- name: take
-- The oldest that wait.
select id, at, type, organization_id, campaign_id, batch_id, position, execution_id, was, status,
       detail
  from outbox
 order by id
 limit :at_most::integer;

-- name: forget
-- Kafka has them. By id: one with a lower id may become visible later.
delete from outbox
 where id = any(:ids::bigint[]);
