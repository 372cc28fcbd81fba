"""Commands about who may use the API, and how agents are reached: `token` and `agent`.

They ask the database, so that they work before the first token exists. A token is printed once,
when it is made, and is never read again.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer

from apollo.cli.interrupts import to_its_end
from apollo.cli.render import listing
from apollo.cli.terminal import AsJson, out, print_json, print_table, say
from apollo.config import configure_logging, load
from apollo.ports import AgentRoute
from apollo.wiring.office import Office, open_office

_T = TypeVar("_T")

Org = Annotated[
    str, typer.Option("--org", metavar="ORG", help="The organisation, such as acme or org_acme.")
]
Name = Annotated[str, typer.Option("--name", help="What the token is for, such as crm.")]
OnlyOrg = Annotated[
    str | None, typer.Option("--org", metavar="ORG", help="Only this organisation's tokens.")
]
WhichToken = Annotated[
    str, typer.Argument(metavar="TOKEN", help="The token's number in the list, or the whole token.")
]
AgentId = Annotated[
    str, typer.Argument(metavar="AGENT_ID", help="The agent_id that campaigns name.")
]
CallHook = Annotated[
    str | None,
    typer.Option("--call-hook", metavar="URL", help="Where the provider asks what to say."),
]
ApplicationSid = Annotated[
    str | None,
    typer.Option("--application-sid", metavar="SID", help="The provider's application, instead."),
]
OwnerOrg = Annotated[
    str | None,
    typer.Option(
        "--org", metavar="ORG", help="Whose agent it is; with one organisation only, that one's."
    ),
]
Shared = Annotated[bool, typer.Option("--shared", help="Every organisation may use it.")]
Numbers = Annotated[
    list[str] | None,
    typer.Argument(metavar="NUMBER", help="Caller ids, such as +14155550123; none: no list."),
]
Synthesis = Annotated[
    str | None,
    typer.Option(
        "--speech-synthesis",
        metavar="VENDOR,LANGUAGE,VOICE",
        help="What speaks, with a call hook; without it APOLLO_SPEECH_SYNTHESIS.",
    ),
]
Recognizer = Annotated[
    str | None,
    typer.Option(
        "--speech-recognizer",
        metavar="VENDOR,LANGUAGE",
        help="What understands, with a call hook; without it APOLLO_SPEECH_RECOGNIZER.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    token = typer.Typer(help="Make, list and revoke the tokens of the API.", no_args_is_help=True)
    token.command("create")(create_token)
    token.command("list")(list_tokens)
    token.command("revoke")(revoke_token)
    app.add_typer(token, name="token")
    agent = typer.Typer(help="Say how agents are reached at the provider.", no_args_is_help=True)
    agent.command("set")(set_agent)
    agent.command("list")(list_agents)
    app.add_typer(agent, name="agent")
    caller_ids = typer.Typer(
        help="Say which organisation may call from which numbers.", no_args_is_help=True
    )
    caller_ids.command("set")(set_caller_ids)
    caller_ids.command("list")(list_caller_ids)
    app.add_typer(caller_ids, name="caller-ids")


def in_office(work: Callable[[Office], Awaitable[_T]], *, may_make: bool = False) -> _T:
    """Do some work with the database at hand, and put it away again."""
    settings = load(os.environ)
    configure_logging(settings.log, sys.stderr)  # stdout is for the result alone

    async def inside() -> _T:
        async with open_office(settings, may_make=may_make) as office:
            return await work(office)

    return to_its_end(inside())


def create_token(org: Org, name: Name = "default", as_json: AsJson = False) -> None:
    """Make a token for an organisation, which is made with it; the token is printed only now."""
    made = in_office(lambda office: office.authenticate.create_token(org, name), may_make=True)
    if as_json:
        print_json(
            {
                "token": made.token,
                "number": made.number,
                "organization_id": made.organization_id,
                "name": made.name,
            }
        )
        return
    say(f"Token {made.number} of {made.organization_id}. It is shown only now: keep it safe.")
    out.print(made.token, markup=False, soft_wrap=True)


def list_tokens(org: OnlyOrg = None, as_json: AsJson = False) -> None:
    """List the tokens, revoked ones too, by number; a token itself is never shown again."""
    found = in_office(lambda office: office.authenticate.list_tokens(org))
    rows: list[dict[str, Any]] = [
        {
            "number": one.id,
            "organization_id": one.organization_id,
            "name": one.name,
            "shown": one.shown,
            "created_at": one.created_at,
            "last_used_at": one.last_used_at,
            "revoked_at": one.revoked_at,
        }
        for one in found
    ]
    if as_json:
        print_json(rows)
    elif rows:
        titles = ("number", "organisation", "name", "token", "created", "last used", "revoked")
        print_table(listing(titles, [list(row.values()) for row in rows]))
    else:
        say("There is no token yet; make one with `apollo token create --org ORG`.")


def revoke_token(token: WhichToken) -> None:
    """Revoke a token; every process refuses it within ten seconds."""
    gone = in_office(lambda office: office.authenticate.revoke_token(token))
    out.print(f"Token {gone.id} ({gone.shown}) of {gone.organization_id} is revoked.", markup=False)


def set_agent(
    agent_id: AgentId,
    call_hook: CallHook = None,
    application_sid: ApplicationSid = None,
    speech_synthesis: Synthesis = None,
    speech_recognizer: Recognizer = None,
    org: OwnerOrg = None,
    shared: Shared = False,
) -> None:
    """Register how an agent is reached at the provider, or change it."""
    if (call_hook is None) == (application_sid is None):
        raise typer.BadParameter("give either --call-hook URL or --application-sid SID")
    if call_hook is not None:
        # A provider refuses a call hook without them, so they are kept with the agent.
        settings = load(os.environ)
        speech_synthesis = speech_synthesis or settings.speech_synthesis
        speech_recognizer = speech_recognizer or settings.speech_recognizer
    route = AgentRoute(call_hook, application_sid, speech_synthesis, speech_recognizer)
    whose = in_office(
        lambda office: office.agents.set_route(agent_id, route, org=org, is_shared=shared),
        may_make=True,
    )
    way = call_hook or f"application {application_sid}"
    owner = "every organisation" if whose is None else whose
    out.print(f"Agent {agent_id} of {owner} is reached by {way}.", markup=False, soft_wrap=True)


def list_agents(as_json: AsJson = False) -> None:
    """List the registered agents and how each is reached."""
    found = in_office(lambda office: office.agents.browse())
    rows: list[dict[str, Any]] = [
        {
            "agent_id": one.agent_id,
            "organization_id": one.organization_id,
            "call_hook": one.route.call_hook,
            "application_sid": one.route.application_sid,
            "speech_synthesis": one.route.speech_synthesis,
            "speech_recognizer": one.route.speech_recognizer,
            "updated_at": one.updated_at,
        }
        for one in found
    ]
    if as_json:
        print_json(rows)
    elif rows:
        titles = (
            "agent",
            "organisation",
            "call hook",
            "application",
            "synthesis",
            "recognizer",
            "changed",
        )
        print_table(listing(titles, [list(row.values()) for row in rows]))
    else:
        say("No agent is registered; APOLLO_DEFAULT_CALL_HOOK, if set, is used for all.")


def set_caller_ids(org: Org, numbers: Numbers = None) -> None:
    """Give an organisation its caller ids, instead of those it had; without any it has no list."""
    in_office(lambda office: office.agents.set_caller_ids(org, numbers or []))
    if numbers:
        say(f"Campaigns of {org} may call from these {len(numbers)} numbers, and nobody else's.")
    else:
        say(f"{org} has no list: its campaigns may call from any number that is nobody else's.")


def list_caller_ids(as_json: AsJson = False) -> None:
    """List the caller ids that organisations were given."""
    found = in_office(lambda office: office.agents.browse_caller_ids())
    if as_json:
        print_json(found)
    elif found:
        rows = [[org, ", ".join(numbers)] for org, numbers in found.items()]
        print_table(listing(("organisation", "caller ids"), rows))
    else:
        say("No organisation has a list; each may call from any number.")
