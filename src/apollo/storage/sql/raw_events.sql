-- name: forget_old
-- Removes some of the events that are older than is wanted; those somebody else removes are left
-- to them.
delete from call_events
 where ctid = any(array(
   select ctid from call_events
    where received_at < now() - :kept_for::interval
    limit :at_most
      for update skip locked));
