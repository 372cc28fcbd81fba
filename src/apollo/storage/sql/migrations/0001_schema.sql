-- The whole schema, in reading order: who, what is to be called, what was called, what happened,
-- and who is alive. Statuses are text with a check; a test compares each check with its enum.
--
-- Lock order, everywhere: campaign, batch (key share), calls by id, contacts, due_contacts,
-- counters, batch (no key update). Nobody who holds a later lock waits for an earlier one.

-- One row: what holds for the whole installation.
create table installation (
  is_only boolean primary key default true check (is_only),
  -- Signs the keys with which voice applications read whom they speak to.
  agent_key_secret bytea not null,
  -- Set by `apollo stop-all`: no claim anywhere while it stands.
  dialling_stopped_at timestamptz,
  -- Set when the provider knows calls of ours that this database does not, as after a restore: no
  -- claim anywhere until the operator has confirmed (`apollo recover`). What was found is kept.
  recovery_since timestamptz,
  recovery_evidence jsonb,
  created_at timestamptz not null default now()
);

-- A tenant. Its id is chosen by the operator and is the only source of tenancy.
create table organizations (
  id text primary key check (id ~ '^org_[A-Za-z0-9_-]{1,60}$'),
  dialling_stopped_at timestamptz,
  created_at timestamptz not null default now()
);

-- API tokens; only the hash of a token is kept.
create table tokens (
  id bigint generated always as identity primary key,
  organization_id text not null references organizations,
  name text not null,
  hash bytea not null unique check (octet_length(hash) = 32),
  -- "gat_ab…wxyz": enough to recognise it in a list.
  shown text not null,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at timestamptz
);

-- How an agent_id is reached at the provider: by a call hook, or by an application there.
create table agents (
  agent_id text primary key,
  call_hook text,
  application_sid text,
  speech_synthesis text,
  speech_recognizer text,
  updated_at timestamptz not null default now(),
  check (num_nonnulls(call_hook, application_sid) = 1)
);

create table campaigns (
  id uuid primary key,
  organization_id text not null references organizations,
  name text not null,
  agent_id text not null,
  phone_numbers text[] not null check (cardinality(phone_numbers) > 0),
  phone_number_strategy text not null
    check (phone_number_strategy in ('round_robin', 'random', 'least_loaded')),
  working_hours_enforced boolean not null,
  timezone text not null,
  working_hours jsonb,
  retry_policy jsonb not null,
  default_call_variables jsonb not null,
  metadata jsonb not null,
  concurrency_limit integer not null
    generated always as (coalesce((metadata ->> 'concurrency_limit')::integer, 10)) stored
    check (concurrency_limit between 1 and 10000),
  -- How many caller ids were handed out: the round robin goes on from here.
  caller_ids_used bigint not null default 0,
  paused_at timestamptz,
  cancelled_at timestamptz,
  deleted_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null
);
create index campaigns_listed on campaigns (organization_id, created_at desc, id);

create table batches (
  id uuid primary key,
  organization_id text not null references organizations,
  campaign_id uuid not null references campaigns,
  status text not null check (status in
    ('pending', 'in_progress', 'paused', 'completed', 'cancelled', 'expired')),
  total_contacts integer not null check (total_contacts >= 0),
  concurrency_limit integer check (concurrency_limit between 1 and 10000),
  max_retries_override integer check (max_retries_override between 0 and 100),
  scheduled_start timestamptz,
  ends_at timestamptz,
  call_context jsonb not null,
  metadata jsonb not null,
  paused_by text check (paused_by in ('campaign', 'batch', 'apollo')),
  -- Why Apollo paused it: {code, text}.
  pause_reason jsonb,
  rejected jsonb not null default '[]',
  rejected_count integer not null default 0,
  -- When its contacts last became dialable: created, started, resumed.
  ready_at timestamptz not null,
  completed_at timestamptz,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  check ((status = 'paused') = (paused_by is not null)),
  check ((status = 'completed') <= (completed_at is not null))
);
create index batches_listed on batches (organization_id, created_at desc, id);
create index batches_of_campaign on batches (campaign_id, created_at desc, id);
create index batches_live on batches (campaign_id)
  where status in ('pending', 'in_progress', 'paused');

-- The place up to which a batch's fresh contacts have been taken. Its own table, so that a claim
-- never waits for, or holds up, the transaction that completes a batch.
create table batch_cursors (
  batch_id uuid primary key references batches,
  next_position integer not null default 1,
  -- When a claim last took a contact of this batch.
  last_claimed_at timestamptz
) with (fillfactor = 50);

-- The people. No index but the key, on purpose: every change of status stays heap-only.
-- Written by create_batches (copy), dial_contacts (claim) and record_call_events.
create table contacts (
  batch_id uuid not null,
  position integer not null check (position > 0),
  phone_number text not null,
  call_variables jsonb not null,
  status text not null default 'pending' check (status in
    ('pending', 'dispatched', 'in_progress', 'retrying', 'followup_scheduled', 'completed',
     'failed', 'busy', 'no_answer', 'skipped', 'max_retries_reached')),
  -- The stored verdict: why this contact itself may not be taken now; null when it may.
  wait_reason text check (wait_reason in
    ('retry_not_due', 'follow_up_not_due', 'duplicate_number_blocked')),
  attempts smallint not null default 0,
  tries smallint not null default 0,
  retry_count smallint not null default 0,
  follow_up_count smallint not null default 0,
  carrier_failures smallint not null default 0,
  is_reached boolean not null default false,
  last_attempted_at timestamptz,
  -- When the status last changed.
  updated_at timestamptz not null,
  primary key (batch_id, position)
) with (fillfactor = 50);

-- Contacts that are not reached through the cursor: they have a due time, or had one. A thin table,
-- so that the fat one needs no index on a column that moves.
create table due_contacts (
  batch_id uuid not null,
  position integer not null,
  -- 0 follow-up, 1 retry, 2 fresh (given back, or parked behind the same number).
  turn smallint not null check (turn between 0 and 2),
  due_at timestamptz not null,
  -- Promoted: its time has come and only the batch's own state may hold it back.
  is_due boolean not null,
  -- The contact's updated_at, for "oldest" without touching the contact.
  since timestamptz not null,
  -- The number another open call holds, while this contact is parked behind it.
  blocked_number text,
  primary key (batch_id, position)
);
create index due_contacts_ready on due_contacts (batch_id, turn, due_at, position) where is_due;
create index due_contacts_coming on due_contacts (due_at) where not is_due;
create index due_contacts_oldest on due_contacts (batch_id, turn, since, position);
-- For "the next at 14:20": the first and the last due time of a batch without a scan.
create index due_contacts_next on due_contacts (batch_id, turn, due_at)
  where not is_due and blocked_number is null;
create index due_contacts_blocked on due_contacts (blocked_number)
  where blocked_number is not null;
create index due_contacts_parked on due_contacts (batch_id) where blocked_number is not null;

-- One row for each attempt. The intent is committed here before the provider is asked. It has no
-- foreign keys: nothing it names is ever deleted, and each check would lock the contact once more.
create table calls (
  id uuid primary key,
  organization_id text not null,
  campaign_id uuid not null,
  batch_id uuid not null,
  position integer not null,
  -- Null once released: such a call used up no attempt.
  attempt smallint,
  kind text not null check (kind in ('first', 'retry', 'follow_up')),
  state text not null check (state in
    ('placing', 'accepted', 'ringing', 'answered', 'unknown', 'ended', 'released')),
  version integer not null default 1,
  provider text not null,
  phone_number text not null,
  from_number text not null,
  provider_call_id text,
  sip_call_id text,
  worker_id uuid,
  requested_at timestamptz not null,
  -- When the provider's first status event for it came; null: nothing heard yet.
  heard_at timestamptz,
  ringing_at timestamptz,
  answered_at timestamptz,
  ended_at timestamptz,
  -- When somebody must look at this call if nothing is heard of it.
  deadline_at timestamptz,
  outcome text check (outcome in ('completed', 'busy', 'no_answer', 'failed')),
  evidence text check (evidence in ('webhook', 'reply', 'poll', 'cdr', 'operator', 'assumed')),
  sip_status smallint,
  sip_reason text,
  duration_seconds integer,
  hangup_by text,
  hangup_reason text,
  recording_url text,
  transcript text,
  summary text,
  sentiment text,
  total_cost numeric,
  follow_up_at timestamptz,
  -- The window that allowed it, as the claim saw it.
  window_opens_at timestamptz not null,
  window_closes_at timestamptz not null,
  prior_due_at timestamptz,
  prior_updated_at timestamptz,
  prior_attempted_at timestamptz,
  unique (batch_id, position, attempt),
  check ((state in ('ended', 'released')) = (ended_at is not null)),
  check ((state = 'ended') = (outcome is not null)),
  check ((state = 'released') = (attempt is null))
) with (fillfactor = 70);
-- I1: at most one open call per phone number and provider account.
create unique index calls_open_number on calls (provider, phone_number) where ended_at is null;
create index calls_open on calls (campaign_id, batch_id) where ended_at is null;
create unique index calls_at_provider on calls (provider_call_id)
  where provider_call_id is not null;
create index calls_to_number on calls (phone_number);
-- How the last calls of a batch ended: written once for each call, as it ends.
create index calls_ended on calls (batch_id, ended_at) where outcome is not null;

-- Every status event as it came, stored before it is applied; a repeat is the same row.
create table call_events (
  -- Hash of provider and raw body: two deliveries of one event are one event.
  content_hash uuid primary key,
  execution_id uuid,
  provider_call_id text not null,
  call_status text not null,
  body bytea not null,
  -- applied, repeat, surprise, correction, orphan, child_leg, ignored
  verdict text not null,
  received_at timestamptz not null
);

-- Contacts by status and stored wait reason, kept by the trigger below and by nothing else.
-- Slots keep writers apart; a reader sums them.
create table batch_counters (
  batch_id uuid not null references batches,
  status text not null,
  -- '' for none: a key column cannot be null.
  wait_reason text not null,
  -- The retry a retrying contact waits for; 0 otherwise.
  retry smallint not null,
  slot smallint not null,
  contacts bigint not null,
  -- The oldest updated_at that ever entered; exact where contacts do not leave (final statuses).
  oldest_at timestamptz not null,
  -- The latest one: when a contact was last dispatched, when a call last ended.
  latest_at timestamptz not null,
  primary key (batch_id, status, wait_reason, retry, slot)
) with (fillfactor = 50);

-- What calls came to, per campaign: attempts, and ended calls by outcome, once each.
create table call_counters (
  campaign_id uuid not null references campaigns,
  -- attempts, follow_up_attempts, completed, failed, busy, no_answer, follow_up
  counted text not null,
  slot smallint not null,
  calls bigint not null,
  primary key (campaign_id, counted, slot)
) with (fillfactor = 50);

-- Campaigns as they are shown: with their status, which is derived and so cannot be wrong, and
-- their ended calls by outcome.
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

-- Processes that are, or were, alive: written every 5 s, evidence for the diagnosis.
create table heartbeats (
  process_id uuid primary key,
  role text not null check (role in ('web', 'worker')),
  host text not null,
  pid integer not null,
  version text not null,
  started_at timestamptz not null,
  seen_at timestamptz not null,
  stopped_at timestamptz,
  -- Role-specific: bus, provider, event-loop lag, hooks received.
  report jsonb not null
);

-- What a provider connection did lately that spans processes.
create table providers (
  provider text primary key,
  -- Numbers in a row that ended 603 without ringing: three mean "no carrier".
  declines_in_a_row integer not null default 0,
  -- The pace over all workers: the next instant at which a request may leave.
  next_request_at timestamptz,
  -- When a worker last compared the provider's live calls with ours; one does it for all.
  watched_at timestamptz
);

-- First answers to requests that carried an Idempotency-Key, kept for 24 hours.
create table idempotency_keys (
  organization_id text not null references organizations,
  path text not null,
  key text not null,
  -- Null while an upload is still being read.
  body_hash bytea,
  lease_until timestamptz not null,
  status_code smallint,
  -- The body as it was sent, so that a repeat is the same to the byte.
  answer bytea,
  created_at timestamptz not null,
  primary key (organization_id, path, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- Who did what: the operator's side of the story.
create table actions (
  id bigint generated always as identity primary key,
  organization_id text not null references organizations,
  campaign_id uuid,
  batch_id uuid,
  at timestamptz not null,
  -- A token's name, "operator" for the command line, "apollo" for itself.
  actor text not null,
  action text not null,
  detail jsonb not null default '{}'
);
create index actions_of_batch on actions (batch_id, at desc);
create index actions_of_campaign on actions (campaign_id, at desc);

-- What the diagnosis of a batch said, from one change to the next.
create table debug_history (
  batch_id uuid not null references batches,
  since timestamptz not null,
  verdict text not null,
  -- The reason that held its contacts back, if one did.
  reason text,
  primary key (batch_id, since)
);

-- The one trigger in the house: it keeps batch_counters exact on every path (I11). Statement level,
-- so that a set of a thousand contacts costs one pass; ordered, so that two sets cannot deadlock.
create function count_contacts() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into batch_counters as k
      (batch_id, status, wait_reason, retry, slot, contacts, oldest_at, latest_at)
    select batch_id, status, coalesce(wait_reason, ''), 0, pg_backend_pid() % 16,
           count(*), min(updated_at), max(updated_at)
      from new_rows
     group by 1, 2, 3
     order by 1, 2, 3
    on conflict (batch_id, status, wait_reason, retry, slot) do update
      set contacts = k.contacts + excluded.contacts,
          oldest_at = least(k.oldest_at, excluded.oldest_at),
          latest_at = greatest(k.latest_at, excluded.latest_at);
  else
    insert into batch_counters as k
      (batch_id, status, wait_reason, retry, slot, contacts, oldest_at, latest_at)
    select batch_id, status, wait_reason, retry, pg_backend_pid() % 16, sum(delta),
           min(entered_at),
           coalesce(max(entered_at) filter (where delta > 0), '-infinity')
      from (select batch_id, status, coalesce(wait_reason, '') as wait_reason,
                   case when status = 'retrying' then retry_count + 1 else 0 end as retry,
                   -1 as delta, 'infinity'::timestamptz as entered_at
              from old_rows
            union all
            select batch_id, status, coalesce(wait_reason, ''),
                   case when status = 'retrying' then retry_count + 1 else 0 end,
                   1, updated_at
              from new_rows) as moves
     group by 1, 2, 3, 4
    having sum(delta) <> 0
     order by 1, 2, 3, 4
    on conflict (batch_id, status, wait_reason, retry, slot) do update
      set contacts = k.contacts + excluded.contacts,
          oldest_at = least(k.oldest_at, excluded.oldest_at),
          latest_at = greatest(k.latest_at, excluded.latest_at);
  end if;
  return null;
end
$$;
create trigger contacts_counted_on_insert after insert on contacts
  referencing new table as new_rows
  for each statement execute function count_contacts();
create trigger contacts_counted_on_update after update on contacts
  referencing old table as old_rows new table as new_rows
  for each statement execute function count_contacts();
