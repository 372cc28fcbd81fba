-- What agents said of calls, by content: what comes again, or late, changes nothing that is newer.
create table call_results (
  call_id uuid not null,
  content_hash uuid not null,
  -- When its sender signed it.
  sent_at timestamptz not null,
  recorded_at timestamptz not null,
  primary key (call_id, content_hash)
);
-- Rows come in the order of their time; old ones are removed.
create index call_results_by_age
  on call_results using brin (recorded_at) with (pages_per_range = 32, autosummarize = on);
