-- Which history this database has: the same after a restart of the server, another after every
-- restore of a dump and every promotion of a replica. It costs no look at a table.
create function database_lineage() returns text language sql stable as $$
  select (select system_identifier from pg_control_system()) || ' '
      -- The control file learns of a promotion only with the next checkpoint.
      || case when pg_is_in_recovery() then (select timeline_id from pg_control_checkpoint())::text
              else ltrim(left(pg_walfile_name(pg_current_wal_lsn()), 8), '0') end || ' '
      || to_regclass('installation')::oid
$$;

-- That of the database that was last compared with the provider; after a restore, of the dump's.
alter table installation add column compared_lineage text;
