-- name: bury
-- Messages that cannot be read. A redelivery is the same letter.
insert into dead_letters (topic, partition, message_offset, key, value, reason)
select *
  from unnest(:topics::text[], :partitions::integer[], :offsets::bigint[], :keys::bytea[],
              :values::bytea[], :reasons::text[])
on conflict do nothing;

-- name: list_letters
-- The newest first; those that went back into their topic only on request.
select id, topic, partition, message_offset, key, value, reason, buried_at, replayed_at
  from dead_letters
 where replayed_at is null or :also_replayed::boolean
 order by id desc
 limit :at_most::integer;

-- name: read_letter
-- One letter.
select id, topic, partition, message_offset, key, value, reason, buried_at, replayed_at
  from dead_letters
 where id = :id;

-- name: note_replayed
-- It went back into its topic.
update dead_letters
   set replayed_at = clock_timestamp()
 where id = :id;

-- name: count_letters
-- Those that still wait for somebody.
select count(*)
  from dead_letters
 where replayed_at is null;
