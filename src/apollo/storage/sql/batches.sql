-- name: read_campaign
-- What checking a new batch needs to know of its campaign; takes no lock.
select id, agent_id, phone_numbers, allowed_countries, allowed_number_types, timezone,
       case when working_hours_enforced then timezone end as hours_in, cancelled_at,
       clock_timestamp() as read_at
  from campaigns
 where id = :campaign_id and organization_id = :organization_id and deleted_at is null;

-- name: insert_batch
-- A batch nobody sees yet: its status is settled once its contacts are there.
insert into batches
  (id, organization_id, campaign_id, status, total_contacts, concurrency_limit,
   max_retries_override, scheduled_start, ends_at, call_context, metadata, rejected,
   rejected_count, ready_at, created_at, updated_at)
select :id, :organization_id, :campaign_id, 'pending', :total_contacts, :concurrency_limit,
       :max_retries_override, :scheduled_start::timestamptz, :ends_at, :call_context, :metadata,
       :rejected, :rejected_count, greatest(now.at, :scheduled_start::timestamptz), now.at, now.at
  from clock_timestamp() as now (at)
returning created_at;

-- name: insert_cursor
-- Its fresh contacts will be taken from here.
insert into batch_cursors (batch_id) values (:batch_id);

-- name: add_refused_rows
-- A page of the rows that did not become contacts, in the transaction that makes the batch.
insert into refused_rows (batch_id, page, rows)
select :batch_id, coalesce(max(page) + 1, 0), :rows from refused_rows where batch_id = :batch_id;

-- name: read_refused_rows
-- One page: a reader of many is served page by page, with no transaction open in between.
select rows from refused_rows where batch_id = :batch_id and page = :page;

-- name: lock_campaign
-- First in the lock order: claims, pause and cancel of the campaign wait until this commits.
select id, paused_at, cancelled_at, deleted_at, timezone, max_follow_ups,
       clock_timestamp() as read_at
  from campaigns
 where id = :campaign_id
   for no key update;

-- name: read_other_batches
-- A statement of its own after the lock, so that it sees what the lock waited for.
select count(*) > 0 as has_any,
       coalesce(bool_or(status in ('pending', 'in_progress', 'paused')), false) as has_live
  from batches
 where campaign_id = :campaign_id and id <> :batch_id;

-- name: forget_pause
-- A campaign whose batches had all ended while it was paused begins anew.
update campaigns set paused_at = null, updated_at = :now where id = :campaign_id;

-- name: settle_batch
-- Gives a batch the status it begins, or begins again, with.
update batches
   set status = :status, paused_by = :paused_by, completed_at = null,
       ready_at = greatest(ready_at, :now::timestamptz),
       updated_at = :now::timestamptz
 where id = :batch_id;

-- name: read_batch
-- A batch with its counters, all of one statement's snapshot.
select b.id, b.organization_id, b.campaign_id, b.status, b.total_contacts, b.scheduled_start,
       b.ends_at, b.max_retries_override, b.call_context, b.metadata, b.paused_by,
       b.pause_reason, b.rejected, b.rejected_count, b.completed_at, b.created_at, b.updated_at,
       coalesce(b.concurrency_limit, c.concurrency_limit) as concurrency_limit_in_force,
       k.counts
  from batches b
  join campaigns c on c.id = b.campaign_id
 cross join lateral (
   select coalesce(jsonb_object_agg(s.status, s.contacts), '{}') as counts
     from (select status, sum(contacts)::bigint as contacts
             from batch_counters
            where batch_id = b.id
            group by status) as s) as k
 where b.id = :batch_id and b.organization_id = :organization_id;

-- name: read_batches
-- A page of batches with their counters, newest or oldest first: one statement, one snapshot. There
-- is a row even for an empty page, for how many the filters let through, if that is asked for.
with wanted as not materialized (
  select b.id, b.created_at
    from batches b
   where b.organization_id = :organization_id
     and (:campaign_id::uuid is null or b.campaign_id = :campaign_id)
     and (:statuses::text[] is null or b.status = any(:statuses))
     and (:created_after::timestamptz is null or b.created_at >= :created_after)
     and (:created_before::timestamptz is null or b.created_at < :created_before)
     and (:updated_since::timestamptz is null or b.updated_at >= :updated_since)
     and (:metadata::jsonb[] is null or b.metadata @> any(:metadata))
     and (:phone_number::text is null
          or exists (select from contacts c
                      where c.phone_number = :phone_number and c.batch_id = b.id))
),
behind as materialized (
  select created_at, id from batches
   where id = :after::uuid and organization_id = :organization_id
),
listed as materialized (
  (select w.id
     from wanted w
    where not :oldest_first::boolean
      and (:after is null or exists (
            select from behind a
             where w.created_at < a.created_at or (w.created_at = a.created_at and w.id > a.id)))
    order by w.created_at desc, w.id
   offset :skip
    limit :limit)
  union all
  (select w.id
     from wanted w
    where :oldest_first
      and (:after is null or exists (
            select from behind a
             where w.created_at > a.created_at or (w.created_at = a.created_at and w.id < a.id)))
    order by w.created_at, w.id desc
   offset :skip
    limit :limit)
),
counted as materialized (
  select case when :with_total::boolean then (select count(*) from wanted) end as total
)
select n.total, b.id, b.organization_id, b.campaign_id, b.status, b.total_contacts,
       b.scheduled_start, b.ends_at, b.max_retries_override, b.call_context, b.metadata,
       b.paused_by, b.pause_reason, b.rejected, b.rejected_count, b.completed_at, b.created_at,
       b.updated_at, coalesce(b.concurrency_limit, c.concurrency_limit)
                       as concurrency_limit_in_force,
       k.counts
  from counted n
  left join (listed l
             join batches b on b.id = l.id
             join campaigns c on c.id = b.campaign_id
            cross join lateral (
              select coalesce(jsonb_object_agg(s.status, s.contacts), '{}') as counts
                from (select status, sum(contacts)::bigint as contacts
                        from batch_counters
                       where batch_id = b.id
                       group by status) as s) as k) on true
 order by case when :oldest_first then b.created_at end,
          case when :oldest_first then null else b.created_at end desc,
          case when :oldest_first then b.id end desc, b.id;

-- name: find_batch
-- A batch of this organisation, by the keys that locking and reading its contacts need.
select id, campaign_id, status, updated_at
  from batches
 where id = :batch_id and organization_id = :organization_id;

-- name: lock_batch
-- Second in the lock order, after its campaign.
select id, campaign_id, status, scheduled_start, ends_at, total_contacts, call_context,
       metadata, jsonb_array_length(rejected) as rejected_shown
  from batches
 where id = :batch_id
   for update;

-- name: grow_batch
-- More contacts than before; what became of the rows that were added is told with the batch.
update batches
   set total_contacts = total_contacts + :added::integer,
       rejected_count = rejected_count + :rejected_count::integer,
       rejected = rejected || :rejected::jsonb,
       ready_at = greatest(ready_at, :now::timestamptz), updated_at = :now
 where id = :batch_id;

-- name: change_batch
-- Writes what may be changed while a batch lives; the caller holds its lock.
update batches
   set concurrency_limit = case when :sets_concurrency_limit::boolean
                                then :concurrency_limit::integer else concurrency_limit end,
       max_retries_override = case when :sets_max_retries_override::boolean
                                   then :max_retries_override::integer
                                   else max_retries_override end,
       ends_at = case when :sets_ends_at::boolean then :ends_at::timestamptz else ends_at end,
       metadata = case when :sets_metadata::boolean then :metadata::jsonb else metadata end,
       updated_at = :now
 where id = :batch_id;

-- name: record_action
-- The operator's side of the story.
insert into actions (organization_id, campaign_id, batch_id, at, actor, action, detail)
values (:organization_id, :campaign_id, :batch_id, :now, :actor, :action, :detail);
