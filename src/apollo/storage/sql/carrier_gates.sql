-- name: lock_gates
-- What there is of these gates, locked in one order: whoever weighs the end of a call must see
-- every end before it. A row that is missing has nothing to say.
with held as materialized (
  select g.provider, g.kind, g.scope_id, g.family, g.row_calls, g.failed, g.carried, g.since,
         g.failed_at, g.sip_status, g.carried_at, g.shut_at, g.probe_at
    from carrier_gates g
    join unnest(:providers::text[], :kinds::text[], :scope_ids::uuid[])
         as w (provider, kind, scope_id)
      on w.provider = g.provider and w.kind = g.kind and w.scope_id = g.scope_id
   order by g.provider, g.kind, g.scope_id
     for update of g
)
select h.provider, h.kind, h.scope_id, h.family, h.row_calls, h.failed, h.carried, h.since,
       h.failed_at, h.sip_status, h.carried_at, h.shut_at, h.probe_at,
       array(select coalesce(k.phone_number, '')
               from unnest(h.row_calls) with ordinality as r (id, nth)
               left join calls k on k.id = r.id
              order by r.nth) as row_numbers
  from held h;

-- name: count_under_way
-- Calls of these scopes of which nothing is known yet: they may still ring.
select w.kind, w.scope_id,
       (select count(*)
          from calls k
         where k.campaign_id = w.campaign_id and k.ended_at is null
           and (w.kind = 'campaign' or k.batch_id = w.scope_id)
           and k.state <> 'unknown'
           and k.ringing_at is null and k.answered_at is null)::integer as under_way
  from unnest(:kinds::text[], :scope_ids::uuid[], :campaign_ids::uuid[])
       as w (kind, scope_id, campaign_id);

-- name: write_gates
-- Gates as they are now; whoever writes one that was there holds its lock.
insert into carrier_gates as g
  (provider, kind, scope_id, campaign_id, family, row_calls, failed, carried, since, failed_at,
   sip_status, carried_at, shut_at, probe_at)
select n.provider, n.kind, n.scope_id, n.campaign_id, n.family,
       string_to_array(n.row_calls, ' ')::uuid[], n.failed, n.carried, n.since, n.failed_at,
       n.sip_status, n.carried_at, n.shut_at, n.probe_at
  from unnest(:providers::text[], :kinds::text[], :scope_ids::uuid[], :campaign_ids::uuid[],
              :families::text[], :rows::text[], :failed::integer[], :carried::integer[], :sinces::timestamptz[],
              :failed_ats::timestamptz[], :sip_statuses::smallint[],
              :carried_ats::timestamptz[], :shut_ats::timestamptz[], :probe_ats::timestamptz[])
       as n (provider, kind, scope_id, campaign_id, family, row_calls, failed, carried, since,
             failed_at, sip_status, carried_at, shut_at, probe_at)
 order by 1, 2, 3
on conflict (provider, kind, scope_id) do update
  set family = excluded.family, row_calls = excluded.row_calls, failed = excluded.failed,
      carried = excluded.carried, since = excluded.since, failed_at = excluded.failed_at,
      sip_status = excluded.sip_status, carried_at = excluded.carried_at,
      shut_at = excluded.shut_at, probe_at = excluded.probe_at, changed_at = clock_timestamp();

-- name: read_shut_gates
-- The gates of a campaign and its batches that are shut; asked for under the campaign's lock, so
-- that two workers do not both send the probe.
select kind, scope_id, shut_at, probe_at, sip_status
  from carrier_gates
 where campaign_id = :campaign_id and provider = :provider and shut_at is not null;

-- name: note_probes
-- A probe of each of these leaves: the next one no sooner than this.
update carrier_gates g
   set probe_at = n.probe_at, changed_at = clock_timestamp()
  from unnest(:providers::text[], :kinds::text[], :scope_ids::uuid[], :probe_ats::timestamptz[])
       as n (provider, kind, scope_id, probe_at)
 where g.provider = n.provider and g.kind = n.kind and g.scope_id = n.scope_id
   and g.shut_at is not null;

-- name: note_set_back
-- Apollo's own doing: it took back what it had judged of people.
insert into actions (organization_id, campaign_id, batch_id, at, actor, action, detail)
select b.organization_id, b.campaign_id, b.id, clock_timestamp(), 'apollo', 'contacts_set_back',
       jsonb_build_object('contacts', n.contacts, 'sip_status', n.sip_status)
  from unnest(:batch_ids::uuid[], :contacts::integer[], :sip_statuses::smallint[])
       as n (batch_id, contacts, sip_status)
  join batches b on b.id = n.batch_id;

-- name: forget_gates
-- Gates that are open and of which nothing was heard for a day.
delete from carrier_gates
 where shut_at is null and changed_at < clock_timestamp() - interval '1 day';

-- name: set_back_batch
-- A person says that the set-up was wrong: whoever's last call found a bad number is called again,
-- and gets the attempt back. Under the locks of campaign and batch, in the order of the house.
with judged as materialized (
  select k.id, c.position, k.kind
    from contacts c
   cross join lateral (
     select k.id, k.kind
       from calls k
      where k.batch_id = c.batch_id and k.position = c.position and k.attempt = c.attempts
        and k.hangup_reason = 'bad_number'
     offset 0) as k
   where c.batch_id = :batch_id and c.status = 'failed' and not c.is_reached
   order by k.id
),
called as (
  update calls k
     set hangup_reason = 'no_route', version = k.version + 1
    from judged j
   where k.id = j.id
),
moved as (
  update contacts c
     set status = case j.kind when 'follow_up' then 'followup_scheduled' else 'retrying' end,
         wait_reason = null, tries = greatest(c.tries - 1, 0),
         retry_count = c.retry_count - (j.kind = 'retry' and c.tries > 1)::integer,
         carrier_failures = c.carrier_failures + 1, updated_at = clock_timestamp()
    from judged j
   where c.batch_id = :batch_id and c.position = j.position
  returning c.position, c.status, c.updated_at
),
queued as (
  insert into due_contacts as d (batch_id, position, turn, due_at, is_due, since)
  select :batch_id, m.position, case m.status when 'followup_scheduled' then 0 else 1 end,
         m.updated_at, true, m.updated_at
    from moved m
  on conflict (batch_id, position) do update
    set turn = excluded.turn, due_at = excluded.due_at, is_due = true, since = excluded.since,
        blocked_number = null
)
select count(*)::integer from moved;

-- name: read_clock
-- The database's clock.
select clock_timestamp();
