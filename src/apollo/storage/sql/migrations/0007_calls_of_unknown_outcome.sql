-- Calls that nobody knows the outcome of are few and are looked for: by the diagnosis of their
-- batch, and by whoever lists the contacts that are held.

create index calls_of_unknown_outcome on calls (batch_id, ended_at)
  where hangup_reason = 'outcome_unknown';
