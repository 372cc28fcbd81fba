-- The provider's raw events are kept for so long and no longer: this finds the old ones.

-- Rows come in the order of their time, so a block range of them is enough. It is a few pages where
-- a tree over a table that takes four rows for each call would be gigabytes, and costs an insert
-- nothing. Nothing reads events by call: whoever does so by hand names the time of the call as well.
create index call_events_by_age
  on call_events using brin (received_at) with (pages_per_range = 32, autosummarize = on);
