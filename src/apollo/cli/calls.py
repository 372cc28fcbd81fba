"""`apollo calls`: contacts that are held because nobody knows what became of their call.

They ask the database, so that they work when the API does not. Must not judge who may be called.
"""

from typing import Annotated, Any

import typer

from apollo.cli.access import in_office
from apollo.cli.render import listing
from apollo.cli.stopping import me
from apollo.cli.terminal import AsJson, out, print_json, print_table, say
from apollo.core import ids
from apollo.errors import Invalid
from apollo.usecases.release_held import HeldCall, ReleaseHeld
from apollo.wiring.office import Office

OnlyOrg = Annotated[
    str | None, typer.Option("--org", metavar="ORG", help="Only this organisation's calls.")
]
WhichCall = Annotated[
    str, typer.Argument(metavar="ID", help="The call's id (exec_…) or the contact's (con_…).")
]
Reason = Annotated[
    str, typer.Option("--reason", help="Why it may be called again; kept for the record.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    calls = typer.Typer(
        help="See and release contacts whose call has an unknown outcome.", no_args_is_help=True
    )
    calls.command("unresolved")(unresolved)
    calls.command("release")(release)
    app.add_typer(calls, name="calls")


def unresolved(org: OnlyOrg = None, as_json: AsJson = False) -> None:
    """List contacts that are held: their call may have been placed, and nobody knows."""
    found, looked_for = in_office(lambda office: _list(office, org))
    rows = [_shown(one) for one in found]
    if as_json:
        print_json(rows)
    elif rows:
        # As many as a line of 80 holds with the id unbroken: it is to be copied.
        titles = ("call", "number", "requested at", "its batch")
        keys = ("execution_id", "number", "requested_at", "batch_status")
        print_table(listing(titles, [[row[key] for key in keys] for row in rows]))
        say("Look into the provider's own records; then `apollo calls release ID --reason …`.")
    else:
        say("No contact is held.")
    if looked_for and not as_json:
        say(f"The provider is still being asked about {looked_for} calls of unknown outcome.")


async def _list(office: Office, org: str | None) -> tuple[list[HeldCall], int]:
    calls = ReleaseHeld(db=office.db)
    return await calls.list_held(org), await calls.count_looked_for(org)


def release(which: WhichCall, reason: Reason, as_json: AsJson = False) -> None:
    """Have a held contact called again, as a normal retry; who and why is recorded."""
    try:
        done = in_office(
            lambda office: ReleaseHeld(db=office.db).release(which, reason=reason, actor=me())
        )
    except Invalid as fault:
        wrong = "; ".join(one.msg for one in fault.errors)
        raise typer.BadParameter(wrong, param_hint="--reason") from None
    if as_json:
        print_json(
            {
                "execution_id": done.execution_id,
                "contact_id": done.contact_id,
                "batch_id": done.batch_id,
                "reopened": done.reopened,
            }
        )
        return
    again = ", which goes on for it" if done.reopened else ""
    text = f"{done.contact_id} is called again, in {done.batch_id}{again}."
    out.print(text, markup=False, soft_wrap=True)


def _shown(one: HeldCall) -> dict[str, Any]:
    return {
        "execution_id": ids.execution_id(one.id),
        "contact_id": ids.contact_id(one.contact),
        "batch_id": ids.batch_id(one.contact.batch_id),
        "campaign_id": ids.campaign_id(one.campaign_id),
        "organization_id": one.organization_id,
        # Enough to find it in the provider's records, with the time and the caller id.
        "number": f"…{one.phone_number[-4:]}",
        "from_number": one.from_number,
        "attempt": one.attempt,
        "requested_at": one.requested_at,
        "given_up_at": one.given_up_at,
        "batch_status": one.batch_status.value,
    }
