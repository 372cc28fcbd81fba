-- Calls of about one time, by their requests: what a look-up has to know if its silence is to mean
-- anything. Rows are added in the order of time, so a summary of each stretch of pages is enough,
-- and it costs a claim nothing.
create index calls_by_time on calls using brin (requested_at)
  with (pages_per_range = 32, autosummarize = on);
