"""The roles of an embedded server: a superuser for its keeper, and a plain owner for Apollo.

Owns how both are made, and how Apollo's role loses the superuser in a cluster that an earlier
version made. It speaks to the server in its single-user mode, while nobody else can. Must never
touch what the tables hold.
"""

import re
from collections.abc import Callable
from pathlib import Path

from apollo.embedded.programs import program, run

APOLLO = "apollo"  # of the role and of the database
# The person who looks after the server uses it over the same socket: `psql -U postgres`. Apollo's
# own role can neither read the machine's files nor run programs, even if an attacker speaks SQL
# through it. It can see other sessions, for the diagnosis, and make a database, for a restore.
SUPERUSER = "postgres"
_MAKE_ROLE = f"create role {APOLLO} login createdb in role pg_monitor"
# In the cluster's directory once its roles are as they should be, so that no start asks again.
_SETTLED = "apollo_roles"

# What single-user mode prints of a row, as in `	 1: found = "t"	(typeid = 16, …)`.
_PRINTED = re.compile(r'^\t ?1: found = "(.*)"\t\(typeid', re.MULTILINE)
_IS_SUPERUSER = "select rolsuper as found from pg_roles where rolname = 'apollo'"
_DATABASES = """
select d.datname as found from pg_database d join pg_roles r on r.oid = d.datdba
 where r.rolname = 'apollo' and d.datallowconn and not d.datistemplate
   and d.datname <> 'postgres'
"""
# initdb made the role, and such a role cannot lose the superuser: it takes the keeper's name, and
# Apollo gets another. No role may rename itself, so a third does it.
_SWAP = (
    "create role apollo_swap superuser",
    "set session authorization apollo_swap",
    f"alter role {APOLLO} rename to {SUPERUSER}",
    f"set session authorization {SUPERUSER}",
    "drop role apollo_swap",
    _MAKE_ROLE,
)
# Everything in a database that is not PostgreSQL's own; 10 is the role that initdb made.
_HAND_OVER = """
do $$
declare act text;
begin
  for act in
    select format('alter schema %I owner to apollo', nspname) from pg_namespace
     where nspowner = 10 and nspname !~ '^pg_' and nspname <> 'information_schema'
    union all
    select format('alter table %s owner to apollo', c.oid::regclass)
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relowner = 10 and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
       and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
       and not exists (select from pg_depend p
                        where p.objid = c.oid and p.classid = 'pg_class'::regclass
                          and p.deptype in ('a', 'i', 'e'))
    union all
    select format('alter routine %s owner to apollo', f.oid::regprocedure)
      from pg_proc f join pg_namespace n on n.oid = f.pronamespace
     where f.proowner = 10 and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
    union all
    select format('alter type %s owner to apollo', t.oid::regtype)
      from pg_type t join pg_namespace n on n.oid = t.typnamespace
      left join pg_class c on c.oid = t.typrelid
     where t.typowner = 10 and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
       and t.typcategory <> 'A' and t.typtype <> 'm' and (c.oid is null or c.relkind = 'c')
  loop
    execute act;
  end loop;
end $$
"""


def make(pgdata: Path, prefix: list[str]) -> tuple[bool, str]:
    """Make Apollo's role and database in a new cluster: whether it was done, and what was said."""
    told = [_MAKE_ROLE, f"create database {APOLLO} owner {APOLLO}"]
    done, said = _tell(pgdata, prefix, "template1", told)
    if done:
        (pgdata / _SETTLED).touch()
    return done, said


def settle(pgdata: Path, prefix: list[str]) -> bool:
    """Take the superuser from Apollo's role, which an earlier version gave it; False: it failed.

    The server must not run. A kill in between leaves what the next start completes.
    """
    if (pgdata / _SETTLED).exists():
        return True

    def tell(database: str, *statements: str) -> list[str]:
        done, said = _tell(pgdata, prefix, database, statements)
        if not done:
            raise _RefusedError
        return _PRINTED.findall(said)

    try:
        _settle(tell)
    except _RefusedError:
        return False
    (pgdata / _SETTLED).touch()
    return True


class _RefusedError(Exception):
    """The server did not take a statement, or did not start."""


def _settle(tell: Callable[..., list[str]]) -> None:
    databases = tell("template1", _DATABASES)
    if tell("template1", _IS_SUPERUSER) == ["t"]:
        owned = [f'alter database "{name}" owner to {APOLLO}' for name in databases]
        tell("template1", "begin", *_SWAP, *owned, "commit")
    for name in databases:
        tell(name, _HAND_OVER)


def _tell(
    pgdata: Path, prefix: list[str], database: str, statements: "list[str] | tuple[str, ...]"
) -> tuple[bool, str]:
    # A line is a statement there.
    lines = "".join(" ".join(one.split()) + "\n" for one in statements)
    single = [program("postgres"), "--single", "-D", str(pgdata), "-c", "exit_on_error=on"]
    return run([*prefix, *single, database], lines)
