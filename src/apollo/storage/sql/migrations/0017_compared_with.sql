-- Which history this database has: the same after a restart of the server, another after every
-- restore of a dump and every promotion of a replica. It costs no look at a table.
create function database_lineage() returns text language sql stable as $$
  select (select system_identifier from pg_control_system()) || ' '
      || (select timeline_id from pg_control_checkpoint()) || ' '
      || to_regclass('installation')::oid
$$;

-- That of the database that was last compared with the provider; after a restore, of the dump's.
alter table installation add column compared_lineage text;
