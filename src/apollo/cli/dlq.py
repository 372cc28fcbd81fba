"""Messages on Kafka that nobody could read: `dlq list`, `dlq show`, `dlq replay`.

They ask the database; only `replay` needs Kafka. A value is shown as it came, for it may be the
only copy; it may hold a phone number, so it is never logged.
"""

from typing import Annotated, Any

import typer

from apollo.cli.access import in_office
from apollo.cli.render import listing
from apollo.cli.terminal import AsJson, out, print_json, print_table, say
from apollo.storage.dead_letters import KeptLetter

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The letter's number in the list.")]
Numbers = Annotated[
    list[int] | None, typer.Argument(metavar="NUMBER…", help="The letters' numbers in the list.")
]
All = Annotated[bool, typer.Option("--all", help="Every letter that waits.")]
AlsoReplayed = Annotated[
    bool, typer.Option("--replayed", help="Also those that went back into their topic.")
]
AtMost = Annotated[int, typer.Option("--limit", min=1, help="At most so many, the newest first.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    dlq = typer.Typer(help="See to messages that nobody could read.", no_args_is_help=True)
    dlq.command("list")(list_letters)
    dlq.command("show")(show_letter)
    dlq.command("replay")(replay_letters)
    app.add_typer(dlq, name="dlq")


def list_letters(
    replayed: AlsoReplayed = False, limit: AtMost = 100, as_json: AsJson = False
) -> None:
    """List the dead letters: where each came from, and why it could not be read."""
    found = in_office(
        lambda office: office.dead_letters.browse(also_replayed=replayed, at_most=limit)
    )
    if as_json:
        print_json([_shown(one) for one in found])
    elif found:
        titles = ("number", "topic", "partition", "offset", "set aside", "replayed", "reason")
        rows = [
            (
                one.id,
                one.letter.topic,
                one.letter.partition,
                one.letter.offset,
                one.buried_at,
                one.replayed_at,
                one.letter.reason,
            )
            for one in found
        ]
        print_table(listing(titles, rows))
    else:
        say("There is no dead letter.")


def show_letter(number: Number, as_json: AsJson = False) -> None:
    """Show one dead letter as it came."""
    found = in_office(lambda office: office.dead_letters.show(number))
    if as_json:
        print_json(_shown(found) | {"value": _text(found.letter.value)})
        return
    for name, value in _shown(found).items():
        out.print(f"{name}: {'-' if value is None else value}", markup=False, soft_wrap=True)
    out.print(_text(found.letter.value), markup=False, soft_wrap=True)


def replay_letters(
    numbers: Numbers = None, everything: All = False, as_json: AsJson = False
) -> None:
    """Put dead letters back into their topics, once their reader was mended."""
    if bool(numbers) == everything:
        raise typer.BadParameter("name the letters, or say --all")

    async def replay(office: Any) -> list[int]:
        wanted = numbers or [
            one.id
            for one in await office.dead_letters.browse(also_replayed=False, at_most=1_000_000)
        ]
        for number in sorted(wanted):
            await office.dead_letters.replay(number)
        return sorted(wanted)

    replayed = in_office(replay)
    if as_json:
        print_json({"replayed": replayed})
    else:
        out.print(f"{len(replayed)} messages went back into their topics.")


def _shown(one: KeptLetter) -> dict[str, Any]:
    letter = one.letter
    return {
        "number": one.id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": None if letter.key is None else _text(letter.key),
        "reason": letter.reason,
        "set_aside_at": one.buried_at,
        "replayed_at": one.replayed_at,
    }


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
