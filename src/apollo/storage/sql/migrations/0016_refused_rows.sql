-- The rows of uploads that did not become contacts, as pages of one compressed CSV file for each
-- batch; page 0 is the header. Written with the batch, read by rejected.csv, at most 64 MiB a batch.
create table refused_rows (
  batch_id uuid not null references batches,
  page integer not null check (page >= 0),
  rows bytea not null,
  primary key (batch_id, page)
);
-- They are compressed already.
alter table refused_rows alter column rows set storage external;
