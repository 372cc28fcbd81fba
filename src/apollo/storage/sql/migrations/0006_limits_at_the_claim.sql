-- The limits as the claim saw them: how many calls were open before it took any, and how many may
-- be. Null: claimed before this migration, or read in from the provider after a restore.
alter table calls
  add column batch_open_calls smallint,
  add column batch_limit smallint,
  add column campaign_open_calls smallint,
  add column campaign_limit smallint;
