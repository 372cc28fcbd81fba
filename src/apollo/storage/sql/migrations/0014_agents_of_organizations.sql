-- Agents and caller ids belong to organisations. Agents that are there already stay everybody's.
alter table agents drop constraint agents_pkey;
alter table agents
  -- Null: shared on purpose, by all organisations.
  add column organization_id text references organizations,
  add unique nulls not distinct (agent_id, organization_id);

-- The agent that an organisation means: its own, else the shared one.
create function agent_of(wanted text, whose text) returns setof agents
language sql stable rows 1 as $$
  select a.*
    from agents a
   where a.agent_id = wanted and (a.organization_id = whose or a.organization_id is null)
   order by a.organization_id nulls last
   limit 1
$$;

-- The numbers an organisation may call from. One that has none here may use any that is nobody's.
create table caller_ids (
  phone_number text primary key,
  organization_id text not null references organizations,
  added_at timestamptz not null default clock_timestamp()
);
create index caller_ids_of_organization on caller_ids (organization_id);
