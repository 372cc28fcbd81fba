"""Commands about one contact, and the one call that tries things out.

They speak to the HTTP API only. Must not judge anything: the API does.
"""

import json
import uuid
from typing import Annotated, Any, Final

import typer

from apollo.cli.asking import (
    Settings,
    ask,
    batch_ids,
    campaign_ids,
    read,
    send,
    settings_given,
)
from apollo.cli.stories import contact_story
from apollo.cli.terminal import AsJson, out, print_json
from apollo.errors import Misconfigured

_BATCHES: Final = "/api/v1/batches"

BatchId = Annotated[
    str,
    typer.Argument(
        metavar="BATCH", help="The batch's id, such as btc_….", autocompletion=batch_ids
    ),
]
ContactId = Annotated[
    str, typer.Argument(metavar="CONTACT", help="The contact's id, such as con_….")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    contact = typer.Typer(help="Show a contact, or take it out of its batch.", no_args_is_help=True)
    contact.command("show")(show)
    contact.command("skip")(skip)
    app.add_typer(contact, name="contact")
    call = typer.Typer(help="Place one call to try things out.", no_args_is_help=True)
    call.callback()(lambda: None)
    call.command("test")(place_test_call)
    app.add_typer(call, name="call")


def show(batch: BatchId, contact: ContactId, as_json: AsJson = False) -> None:
    """Show a contact: what holds it back, and every attempt to reach it."""
    found = read(f"{_BATCHES}/{batch}/contacts/{contact}/why")
    if as_json:
        print_json(found)
    else:
        out.print(contact_story(found))


def skip(batch: BatchId, contact: ContactId, as_json: AsJson = False) -> None:
    """Take one contact out of a live batch; a call in progress goes on."""
    done = send(f"{_BATCHES}/{batch}/contacts/{contact}/skip")
    if as_json:
        print_json(done)
    else:
        out.print(str(done["message"]), markup=False)


def place_test_call(
    campaign: Annotated[
        str, typer.Option("--campaign", help="Whose rules hold.", autocompletion=campaign_ids)
    ],
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Whom to call, E.164.")],
    variables: Annotated[
        str | None, typer.Option("--variables", metavar="JSON", help="What the agent is told.")
    ] = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Call one number once; hours, limits and pauses hold as for every call."""
    body: dict[str, Any] = {"campaign_id": campaign, "phone_number": number}
    body |= settings_given(settings)
    if variables is not None:
        try:
            body["call_variables"] = json.loads(variables)
        except ValueError as wrong:
            text = '--variables: write a JSON object, such as {"callee_name": "Ruth"}'
            raise Misconfigured([text]) from wrong
    placed = ask(lambda api: api.send("/api/v1/calls", body, idempotency_key=str(uuid.uuid4())))
    if as_json:
        print_json(placed)
        return
    out.print(
        f"The call is batch {placed['batch_id']}, which is {placed['batch_status']}."
        f" See what becomes of it: apollo contact show {placed['batch_id']}"
        f" {placed['contact_id']}",
        markup=False,
        soft_wrap=True,
    )
