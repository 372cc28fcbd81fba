-- What the carrier behind a provider did lately: the workers' breakers read it with each claim.
-- The counts only grow; good calls are counted only while others fail.
alter table providers
  add column calls_failed bigint not null default 0,
  add column calls_carried bigint not null default 0,
  add column failed_in_a_row integer not null default 0,
  -- The last failure, and its SIP code.
  add column failed_at timestamptz,
  add column failed_with smallint;
