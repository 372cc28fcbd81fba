-- name: add_campaign
-- Stores a new campaign.
insert into campaigns
  (id, organization_id, name, agent_id, phone_numbers, phone_number_strategy,
   working_hours_enforced, timezone, working_hours, retry_policy, max_follow_ups,
   number_gap_minutes, amd, default_call_variables, metadata, allowed_countries,
   allowed_number_types, created_at, updated_at)
select :id, :organization_id, :name, :agent_id, :phone_numbers, :phone_number_strategy,
       :working_hours_enforced, :timezone, :working_hours, :retry_policy, :max_follow_ups,
       :number_gap_minutes, :amd, :default_call_variables, :metadata,
       :allowed_countries, :allowed_number_types, now.at, now.at
  from clock_timestamp() as now (at);

-- name: change_campaign
-- Replaces what a client may decide about a campaign.
update campaigns
   set name = :name, agent_id = :agent_id, phone_numbers = :phone_numbers,
       phone_number_strategy = :phone_number_strategy,
       working_hours_enforced = :working_hours_enforced, timezone = :timezone,
       working_hours = :working_hours, retry_policy = :retry_policy,
       max_follow_ups = :max_follow_ups, number_gap_minutes = :number_gap_minutes, amd = :amd,
       default_call_variables = :default_call_variables, metadata = :metadata,
       allowed_countries = :allowed_countries, allowed_number_types = :allowed_number_types,
       updated_at = :at
 where id = :id;

-- name: read_campaign
-- One campaign as it is shown.
select id, organization_id, name, agent_id, phone_numbers, phone_number_strategy,
       working_hours_enforced, timezone, working_hours, retry_policy, max_follow_ups,
       number_gap_minutes, amd, default_call_variables, metadata, allowed_countries,
       allowed_number_types, status, completed_calls, failed_calls, busy_calls, no_answer_calls, voicemail_calls, follow_up_calls, created_at,
       updated_at
  from shown_campaigns
 where organization_id = :organization_id and id = :id;

-- name: list_campaigns
-- A page of an organisation's campaigns, newest or oldest first. There is a row even for an empty
-- page, for how many the filters let through, if that is asked for.
with wanted as not materialized (
  select c.id, c.created_at
    from shown_campaigns c
   where c.organization_id = :organization_id
     and (:statuses::text[] is null or c.status = any(:statuses))
     and (:created_after::timestamptz is null or c.created_at >= :created_after)
     and (:created_before::timestamptz is null or c.created_at < :created_before)
     and (:updated_since::timestamptz is null or c.updated_at >= :updated_since)
     and (:metadata::jsonb[] is null or c.metadata @> any(:metadata))
     and (:phone_number::text is null or :phone_number = any(c.phone_numbers))
),
behind as materialized (
  select created_at, id from campaigns
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
   offset :skip::bigint
    limit :at_most::bigint)
  union all
  (select w.id
     from wanted w
    where :oldest_first
      and (:after is null or exists (
            select from behind a
             where w.created_at > a.created_at or (w.created_at = a.created_at and w.id < a.id)))
    order by w.created_at, w.id desc
   offset :skip
    limit :at_most)
),
counted as materialized (
  select case when :with_total::boolean then (select count(*) from wanted) end as total
)
select n.total, c.*
  from counted n
  left join lateral (
    select id, organization_id, name, agent_id, phone_numbers, phone_number_strategy,
       working_hours_enforced, timezone, working_hours, retry_policy, max_follow_ups,
       number_gap_minutes, amd, default_call_variables, metadata, allowed_countries,
       allowed_number_types, status, completed_calls, failed_calls, busy_calls, no_answer_calls, voicemail_calls, follow_up_calls, created_at,
       updated_at
      from shown_campaigns
     where id in (select l.id from listed l)) as c on true
 order by case when :oldest_first then c.created_at end,
          case when :oldest_first then null else c.created_at end desc,
          case when :oldest_first then c.id end desc, c.id;

-- name: read_stats
-- Every number of a campaign's stats from one snapshot, grouped the ways the API shows them.
select c.retry_policy,
       (select coalesce(jsonb_object_agg(status, contacts), '{}')
          from (select k.status, sum(k.contacts)::bigint as contacts
                  from batch_counters k
                  join batches b on b.id = k.batch_id
                 where b.campaign_id = c.id
                 group by k.status) as s) as contacts_by_status,
       (select coalesce(jsonb_object_agg(retry, contacts), '{}')
          from (select k.retry, sum(k.contacts)::bigint as contacts
                  from batch_counters k
                  join batches b on b.id = k.batch_id
                 where b.campaign_id = c.id and k.status = 'retrying'
                 group by k.retry) as r) as contacts_by_retry,
       (select coalesce(jsonb_object_agg(status, batches), '{}')
          from (select b.status, count(*) as batches
                  from batches b
                 where b.campaign_id = c.id
                 group by b.status) as s) as batches_by_status,
       (select coalesce(jsonb_object_agg(counted, calls), '{}')
          from (select k.counted, sum(k.calls)::bigint as calls
                  from call_counters k
                 where k.campaign_id = c.id
                 group by k.counted) as s) as calls_by_kind
  from shown_campaigns c
 where c.organization_id = :organization_id and c.id = :id;

-- name: list_without_hours
-- Campaigns with a live batch that may dial at any hour, the newest first.
select c.id
  from campaigns c
 where not c.working_hours_enforced and c.cancelled_at is null and c.deleted_at is null
   and exists (select from batches b
                where b.campaign_id = c.id and b.status in ('pending', 'in_progress', 'paused'))
 order by c.created_at desc
 limit :at_most;

-- name: delete_campaign
-- Hides a campaign; its rows stay for the record.
update campaigns
   set deleted_at = :at, updated_at = :at
 where id = :id;
