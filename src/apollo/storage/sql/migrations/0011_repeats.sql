alter table contacts
  -- Somebody took this contact out while it was on a call: the call ends, and none follows.
  add column is_withdrawn boolean not null default false;

-- Whose number is in which batch, and which numbers are not to be called again. A number never
-- changes, so a change of status stays heap-only.
create index contacts_by_number on contacts (phone_number);

create index calls_barred on calls (organization_id, phone_number)
  where hangup_reason in ('bad_number', 'unwanted');
