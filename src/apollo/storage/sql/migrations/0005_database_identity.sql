-- Which database this is: another after every restore, every promotion of a replica, and every
-- restart of the server. It costs no look at a table.
create function database_identity() returns text language sql stable as $$
  select pg_postmaster_start_time()::text || ' ' || to_regclass('installation')::oid
$$;
