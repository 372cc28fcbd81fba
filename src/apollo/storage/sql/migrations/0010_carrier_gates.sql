-- What the carrier, or the set-up, does to calls is weighed for each campaign and each batch: one
-- list, one agent or one caller id that fails stops nobody else. Replaces the counts of a whole
-- provider, which let one organisation's failures stop everybody's dialling.
create table carrier_gates (
  provider text not null,
  -- Whose calls: 'campaign' or 'batch', and which.
  kind text not null check (kind in ('campaign', 'batch')),
  scope_id uuid not null,
  campaign_id uuid not null,
  -- The row: calls to different numbers, one after the other, that ended in one family of endings
  -- before any phone rang.
  family text check (family in ('number', 'codec', 'declined')),
  row_calls uuid[] not null default '{}',
  -- Calls that the carrier failed since `since`, and those that it carried meanwhile.
  failed integer not null default 0,
  carried integer not null default 0,
  since timestamptz,
  -- The last failure, and its SIP code; the last call that was carried while others failed.
  failed_at timestamptz,
  sip_status smallint,
  carried_at timestamptz,
  -- Shut: one call at a time tries, the next one at `probe_at`.
  shut_at timestamptz,
  probe_at timestamptz,
  changed_at timestamptz not null default clock_timestamp(),
  primary key (provider, kind, scope_id),
  check ((shut_at is null) = (probe_at is null)),
  check ((family is null) = (row_calls = '{}'))
) with (fillfactor = 50);
create index carrier_gates_shut on carrier_gates (campaign_id) where shut_at is not null;

alter table providers
  drop column declines_in_a_row,
  drop column calls_failed,
  drop column calls_carried,
  drop column failed_in_a_row,
  drop column failed_at,
  drop column failed_with;
