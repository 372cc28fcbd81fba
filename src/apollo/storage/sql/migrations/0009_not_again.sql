-- How often, and how soon again, the same person may be called.

alter table campaigns
  -- Follow-ups that may be promised to one contact.
  add column max_follow_ups integer not null default 3 check (max_follow_ups between 0 and 100),
  -- Between two calls to one number out of different batches, and before a follow-up. Null: the
  -- installation's own.
  add column number_gap_minutes double precision
    check (number_gap_minutes between 0 and 1440);

alter table contacts
  -- Follow-ups promised so far.
  add column promises smallint not null default 0,
  drop constraint contacts_wait_reason_check,
  -- The rows that are there obey the narrower list: nothing is read for this.
  add constraint contacts_wait_reason_check check (wait_reason in
    ('retry_not_due', 'follow_up_not_due', 'duplicate_number_blocked', 'number_resting')) not valid;

-- A view keeps the columns that its table had when it was made.
drop view shown_campaigns;
create view shown_campaigns as
select c.*,
       case when c.cancelled_at is not null then 'cancelled'
            when exists (select from batches b
                          where b.campaign_id = c.id
                            and b.status in ('pending', 'in_progress', 'paused'))
              then case when c.paused_at is null then 'active' else 'paused' end
            when exists (select from batches b where b.campaign_id = c.id) then 'completed'
            when c.paused_at is not null then 'paused'
            else 'draft'
       end as status,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'completed') as completed_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'failed') as failed_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'busy') as busy_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'no_answer') as no_answer_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'follow_up') as follow_up_calls
  from campaigns c
 where c.deleted_at is null;
