-- name: add_campaign
-- Stores a new campaign.
insert into campaigns
  (id, organization_id, name, agent_id, phone_numbers, phone_number_strategy,
   working_hours_enforced, timezone, working_hours, retry_policy, max_follow_ups,
   number_gap_minutes, amd, default_call_variables, metadata, created_at, updated_at)
select :id, :organization_id, :name, :agent_id, :phone_numbers, :phone_number_strategy,
       :working_hours_enforced, :timezone, :working_hours, :retry_policy, :max_follow_ups,
       :number_gap_minutes, :amd, :default_call_variables, :metadata, now.at, now.at
  from clock_timestamp() as now (at);

-- name: change_campaign
-- Replaces what a client may decide about a campaign.
update campaigns
   set name = :name, agent_id = :agent_id, phone_numbers = :phone_numbers,
       phone_number_strategy = :phone_number_strategy,
       working_hours_enforced = :working_hours_enforced, timezone = :timezone,
       working_hours = :working_hours, retry_policy = :retry_policy,
       max_follow_ups = :max_follow_ups, number_gap_minutes = :number_gap_minutes, amd = :amd,
       default_call_variables = :default_call_variables, metadata = :metadata, updated_at = :at
 where id = :id;

-- name: read_campaign
-- One campaign as it is shown.
select id, organization_id, name, agent_id, phone_numbers, phone_number_strategy,
       working_hours_enforced, timezone, working_hours, retry_policy, max_follow_ups,
       number_gap_minutes, amd, default_call_variables, metadata, status, completed_calls,
       failed_calls, busy_calls, no_answer_calls, voicemail_calls, follow_up_calls, created_at,
       updated_at
  from shown_campaigns
 where organization_id = :organization_id and id = :id;

-- name: list_campaigns
-- An organisation's campaigns, newest first.
select id, organization_id, name, agent_id, phone_numbers, phone_number_strategy,
       working_hours_enforced, timezone, working_hours, retry_policy, max_follow_ups,
       number_gap_minutes, amd, default_call_variables, metadata, status, completed_calls,
       failed_calls, busy_calls, no_answer_calls, voicemail_calls, follow_up_calls, created_at,
       updated_at
  from shown_campaigns
 where organization_id = :organization_id
   and (:status::text is null or status = :status)
 order by created_at desc, id
offset :skip::bigint limit :at_most::bigint;

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
