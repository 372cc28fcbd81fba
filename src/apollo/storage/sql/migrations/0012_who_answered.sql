-- Who picked up an answered call: the person, a machine, or somebody else whose number it is. Rows
-- that are there satisfied a stricter check already, so they are not read again (`not valid`): this
-- takes no time in a table of any size.
alter table contacts drop constraint contacts_status_check;
alter table contacts add constraint contacts_status_check check (status in
  ('pending', 'dispatched', 'in_progress', 'retrying', 'followup_scheduled', 'completed',
   'failed', 'busy', 'no_answer', 'voicemail', 'skipped', 'max_retries_reached')) not valid;

alter table calls drop constraint calls_outcome_check;
alter table calls add constraint calls_outcome_check check
  (outcome in ('completed', 'busy', 'no_answer', 'voicemail', 'failed')) not valid;
alter table calls drop constraint calls_evidence_check;
alter table calls add constraint calls_evidence_check check
  (evidence in ('webhook', 'reply', 'poll', 'cdr', 'agent', 'operator', 'assumed')) not valid;
alter table calls
  add column reached text,
  -- Said by the agent; else by the provider's machine detection, which the agent outranks.
  add column reached_by_agent boolean not null default false;
alter table calls add constraint calls_reached_check check
  (reached in ('person', 'machine', 'wrong_person')) not valid;

-- Whether the provider is asked to find out that a machine picks up.
alter table campaigns add column amd boolean not null default false;

-- What an organisation learnt about a number, over all its batches.
create table marked_numbers (
  organization_id text not null references organizations,
  phone_number text not null,
  mark text not null check (mark in ('wrong_person')),
  -- The call that showed it; if that is corrected, the mark goes.
  call_id uuid not null,
  marked_at timestamptz not null,
  primary key (organization_id, phone_number)
);

-- With the new column, and the calls that a machine took.
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
         where k.campaign_id = c.id and k.counted = 'voicemail') as voicemail_calls,
       (select coalesce(sum(k.calls), 0)::bigint from call_counters k
         where k.campaign_id = c.id and k.counted = 'follow_up') as follow_up_calls
  from campaigns c
 where c.deleted_at is null;
