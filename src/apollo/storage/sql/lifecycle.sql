-- name: lock_campaign
-- Takes the campaign's lock, waiting for whoever holds it, and reads the database's clock. 15 s: a
-- holder that died is thrown out after 10 s (idle_in_transaction_session_timeout).
with patience as materialized (
  select set_config('lock_timeout', '15s', true)
)
select c.id, c.paused_at is not null as is_paused, c.cancelled_at is not null as is_cancelled,
       clock_timestamp() as read_at
  from patience
 cross join campaigns c
 where c.id = :campaign_id and c.organization_id = :organization_id and c.deleted_at is null
   for no key update of c;

-- name: find_batch
-- Whose batch this is, and its campaign. A batch never changes its campaign.
select organization_id, campaign_id from batches where id = :batch_id;

-- name: lock_batches
-- Takes the batches of a campaign, or one of them, in the order of their ids. Events of their calls
-- wait until we are done, and are then decided under the new status.
select b.id, b.status, b.paused_by, b.scheduled_start, b.ends_at, b.total_contacts
  from batches b
 where b.campaign_id = :campaign_id
   and (b.id = :batch_id or (:batch_id::uuid is null
                             and b.status in ('pending', 'in_progress', 'paused')))
 order by b.id
   for update;

-- name: count_open_calls
-- Calls that go on whatever is decided now. A statement of its own: its snapshot is younger than
-- the locks.
select count(*)::integer
  from calls
 where campaign_id = :campaign_id and ended_at is null
   and (:batch_id::uuid is null or batch_id = :batch_id);

-- name: read_campaign_status
-- The derived status, as the API shows it.
select status from shown_campaigns where id = :campaign_id;

-- name: pause_campaign
-- From now on no claim of this campaign takes anything.
update campaigns set paused_at = :at, updated_at = :at where id = :campaign_id;

-- name: resume_campaign
-- Claims may take again.
update campaigns set paused_at = null, updated_at = :at where id = :campaign_id;

-- name: cancel_campaign
-- For good.
update campaigns
   set cancelled_at = :at, paused_at = null, updated_at = :at
 where id = :campaign_id;

-- name: pause_batches
-- Pauses the batches given; whoever pauses last is who may resume.
update batches
   set status = 'paused', paused_by = :paused_by, updated_at = :at
 where id = any(:batch_ids::uuid[]) and status in ('pending', 'in_progress', 'paused');

-- name: resume_batches
-- A start that still lies ahead is waited for again; everything else may be dialled at once.
update batches
   set status = case when scheduled_start > :at::timestamptz then 'pending' else 'in_progress' end,
       paused_by = null, pause_reason = null, ready_at = :at, updated_at = :at
 where id = any(:batch_ids::uuid[]) and status = 'paused'
returning status;

-- name: close_batches
-- Ends the batches given before their time: cancelled or expired.
update batches
   set status = :status, paused_by = null, pause_reason = null, updated_at = :at
 where id = any(:batch_ids::uuid[]) and status in ('pending', 'in_progress', 'paused');

-- name: skip_contacts
-- Whoever waits will not be called. Those on a call keep it; its end finds the batch closed.
update contacts
   set status = 'skipped', wait_reason = null, updated_at = :at
 where batch_id = any(:batch_ids::uuid[])
   and status in ('pending', 'retrying', 'followup_scheduled');

-- name: drop_due_contacts
-- Nobody of these batches is due any more.
delete from due_contacts where batch_id = any(:batch_ids::uuid[]);

-- name: end_cursors
-- Nothing is left to take from these batches.
update batch_cursors k
   set next_position = b.total_contacts + 1
  from batches b
 where b.id = k.batch_id and k.batch_id = any(:batch_ids::uuid[]);

-- name: read_batch_for_dispatch
-- A batch's status and its pending contacts, from one snapshot.
select b.organization_id, b.campaign_id, b.status, b.paused_by,
       coalesce((select sum(k.contacts)
                   from batch_counters k
                  where k.batch_id = b.id and k.status = 'pending'), 0)::bigint as pending
  from batches b
 where b.id = :batch_id and b.organization_id = :organization_id;

-- name: record_action
-- Who did what, by the database's clock.
insert into actions (organization_id, campaign_id, batch_id, at, actor, action, detail)
values (:organization_id, :campaign_id, :batch_id, clock_timestamp(), :actor, :action, :detail);

-- name: stop_dialling
-- No claim of this organisation from now on; or claims may take again.
update organizations
   set dialling_stopped_at = case when :is_stopped::boolean then clock_timestamp() end
 where id = :organization_id;

-- name: stop_all_dialling
-- No claim anywhere; or they may take again, but who was stopped alone stays stopped.
update installation
   set dialling_stopped_at = case when :is_stopped::boolean then clock_timestamp() end;

-- name: record_action_everywhere
-- Who did what to every organisation.
insert into actions (organization_id, at, actor, action)
select id, clock_timestamp(), :actor, :action from organizations
 where :organization_id::text is null or id = :organization_id;

-- name: wakeable_campaigns
-- Campaigns that may have something to dial.
select distinct b.campaign_id
  from batches b
 where b.status = 'in_progress'
   and (:organization_id::text is null or b.organization_id = :organization_id);

-- name: count_calls_of
-- Open calls of one organisation, or of all.
select count(*)::integer
  from calls
 where ended_at is null
   and (:organization_id::text is null or organization_id = :organization_id);

-- name: read_calls_to_hang_up
-- Open calls of one organisation, or of all, at one provider connection.
select id, organization_id, batch_id, position, state = 'placing' as is_placing,
       provider_call_id, phone_number, from_number, answered_at is not null as was_answered
  from calls
 where ended_at is null and provider = :provider
   and (:organization_id::text is null or organization_id = :organization_id)
 order by requested_at;

-- name: record_organization_action
-- Who did what to a whole organisation.
insert into actions (organization_id, at, actor, action, detail)
values (:organization_id, clock_timestamp(), :actor, :action, :detail);

-- name: read_stops
-- For whom nobody is called now, and since when: the installation (null), or organisations.
select null as organization_id, dialling_stopped_at
  from installation
 where dialling_stopped_at is not null
 union all
select id, dialling_stopped_at
  from organizations
 where dialling_stopped_at is not null
 order by 2;
