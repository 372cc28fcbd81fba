-- What Apollo keeps for Kafka: events on their way to other systems, and messages nobody can read.

-- Messages that could not be understood, as they came. Nothing of Apollo reads them again but
-- `apollo dlq replay`.
create table dead_letters (
  id bigint generated always as identity primary key,
  topic text not null,
  partition integer not null,
  message_offset bigint not null,
  key bytea,
  value bytea not null,
  reason text not null,
  buried_at timestamptz not null default clock_timestamp(),
  -- When it went back into its topic.
  replayed_at timestamptz
);
-- A message that is delivered again is the same letter. Its value counts too: a topic that was
-- deleted starts again at offset 0.
create unique index dead_letters_once
  on dead_letters (topic, partition, message_offset, md5(value));
create index dead_letters_waiting on dead_letters (id) where replayed_at is null;

-- What happened, until the relay has brought it to Kafka. Written by the triggers below, in the
-- transaction in which it happened; the row locks of that transaction put one contact's in order.
create table outbox (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  -- campaign.changed, batch.changed, contact.changed, call.changed
  type text not null,
  organization_id text not null,
  campaign_id uuid not null,
  batch_id uuid,
  position integer,
  execution_id uuid,
  -- The status before; null for what is new.
  was text,
  status text not null,
  detail jsonb not null default '{}'
);

create function note_campaigns() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into outbox (type, organization_id, campaign_id, status)
    select 'campaign.changed', organization_id, id, 'open' from new_rows order by id;
  else
    -- Claims count caller ids here; only what a person changed is news.
    insert into outbox (type, organization_id, campaign_id, was, status)
    select 'campaign.changed', n.organization_id, n.id,
           case when o.deleted_at is not null then 'deleted'
                when o.cancelled_at is not null then 'cancelled'
                when o.paused_at is not null then 'paused' else 'open' end,
           case when n.deleted_at is not null then 'deleted'
                when n.cancelled_at is not null then 'cancelled'
                when n.paused_at is not null then 'paused' else 'open' end
      from new_rows n
      join old_rows o on o.id = n.id
     where (n.updated_at, n.deleted_at, n.cancelled_at, n.paused_at)
           is distinct from (o.updated_at, o.deleted_at, o.cancelled_at, o.paused_at)
     order by n.id;
  end if;
  return null;
end
$$;

create function note_batches() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into outbox (type, organization_id, campaign_id, batch_id, status)
    select 'batch.changed', organization_id, campaign_id, id, status from new_rows order by id;
  else
    insert into outbox (type, organization_id, campaign_id, batch_id, was, status)
    select 'batch.changed', n.organization_id, n.campaign_id, n.id, o.status, n.status
      from new_rows n
      join old_rows o on o.id = n.id
     where n.status <> o.status
     order by n.id;
  end if;
  return null;
end
$$;

create function note_contacts() returns trigger language plpgsql as $$
begin
  insert into outbox
    (type, organization_id, campaign_id, batch_id, position, was, status, detail)
  select 'contact.changed', b.organization_id, b.campaign_id, n.batch_id, n.position, o.status,
         n.status, jsonb_build_object('attempts', n.attempts, 'retries', n.retry_count)
    from new_rows n
    join old_rows o on o.batch_id = n.batch_id and o.position = n.position
    join batches b on b.id = n.batch_id
   where n.status <> o.status
   order by n.batch_id, n.position;
  return null;
end
$$;

create function note_calls() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into outbox
      (type, organization_id, campaign_id, batch_id, position, execution_id, status, detail)
    select 'call.changed', organization_id, campaign_id, batch_id, position, id, state,
           jsonb_build_object('attempt', attempt, 'kind', kind)
      from new_rows
     order by batch_id, position;
  else
    insert into outbox
      (type, organization_id, campaign_id, batch_id, position, execution_id, was, status, detail)
    select 'call.changed', n.organization_id, n.campaign_id, n.batch_id, n.position, n.id,
           o.state, n.state,
           jsonb_build_object(
             'attempt', n.attempt, 'kind', n.kind, 'provider_call_id', n.provider_call_id,
             'outcome', n.outcome, 'evidence', n.evidence, 'sip_status', n.sip_status,
             'sip_reason', n.sip_reason, 'duration_s', n.duration_seconds,
             'hangup_by', n.hangup_by)
      from new_rows n
      join old_rows o on o.id = n.id
     where (n.state, n.outcome) is distinct from (o.state, o.outcome)
     order by n.batch_id, n.position;
  end if;
  return null;
end
$$;

-- Starts or ends the writing of the outbox. Where Kafka is not the bus the triggers do not exist,
-- so that nobody pays for them. They stay while another worker still publishes.
create function publish_events(wanted boolean) returns void language plpgsql as $$
declare
  are_there boolean;
begin
  are_there := exists (select from pg_trigger
                        where tgname = 'calls_noted_on_update' and tgrelid = 'calls'::regclass);
  if wanted = are_there then
    return;
  end if;
  perform pg_advisory_xact_lock(x'41504F4C4C4F45'::bigint);
  are_there := exists (select from pg_trigger
                        where tgname = 'calls_noted_on_update' and tgrelid = 'calls'::regclass);
  if wanted and not are_there then
    create trigger campaigns_noted_on_insert after insert on campaigns
      referencing new table as new_rows
      for each statement execute function note_campaigns();
    create trigger campaigns_noted_on_update after update on campaigns
      referencing old table as old_rows new table as new_rows
      for each statement execute function note_campaigns();
    create trigger batches_noted_on_insert after insert on batches
      referencing new table as new_rows
      for each statement execute function note_batches();
    create trigger batches_noted_on_update after update on batches
      referencing old table as old_rows new table as new_rows
      for each statement execute function note_batches();
    create trigger contacts_noted_on_update after update on contacts
      referencing old table as old_rows new table as new_rows
      for each statement execute function note_contacts();
    create trigger calls_noted_on_insert after insert on calls
      referencing new table as new_rows
      for each statement execute function note_calls();
    create trigger calls_noted_on_update after update on calls
      referencing old table as old_rows new table as new_rows
      for each statement execute function note_calls();
  elsif are_there and not wanted and not exists (
      select from heartbeats
       where stopped_at is null and seen_at > clock_timestamp() - interval '15 seconds'
         and role = 'worker' and report -> 'bus' ->> 'kind' = 'kafka') then
    drop trigger campaigns_noted_on_insert on campaigns;
    drop trigger campaigns_noted_on_update on campaigns;
    drop trigger batches_noted_on_insert on batches;
    drop trigger batches_noted_on_update on batches;
    drop trigger contacts_noted_on_update on contacts;
    drop trigger calls_noted_on_insert on calls;
    drop trigger calls_noted_on_update on calls;
  end if;
end
$$;
