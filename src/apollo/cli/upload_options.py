"""The options of an upload: how a list is read, what is left out, and the batch it becomes."""

from pathlib import Path
from typing import Annotated

import typer

from apollo.cli.asking import campaign_ids

CampaignId = Annotated[
    str,
    typer.Option(
        "--campaign",
        metavar="CAMPAIGN",
        help="The campaign's id, such as cmp_….",
        autocompletion=campaign_ids,
    ),
]
CsvFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="CSV or .xlsx, its columns named: one holds the number, the others are variables.",
    ),
]
OnInvalid = Annotated[
    str,
    typer.Option(
        "--on-invalid",
        metavar="skip|reject",
        help="Leave bad rows out and list them, or refuse the whole file.",
    ),
]
OnDuplicate = Annotated[
    str,
    typer.Option(
        "--on-duplicate",
        metavar="skip|keep",
        help="Keep the first row of a number, or call it once for each row.",
    ),
]
AcrossBatches = Annotated[
    str | None,
    typer.Option(
        "--across",
        metavar="none|campaign|organization",
        help="Where else a number may be waiting or reached, and is then left out; else campaign.",
    ),
]
Within = Annotated[
    str | None,
    typer.Option(
        "--within", metavar="P30D", help="Batches that ended within this time count, too."
    ),
]
OnBarred = Annotated[
    str | None,
    typer.Option(
        "--on-barred",
        metavar="skip|keep",
        help="Leave out numbers that do not exist or do not want calls, or call them again.",
    ),
]
OnMostlyInvalid = Annotated[
    str,
    typer.Option(
        "--on-mostly-invalid",
        metavar="reject|accept",
        help="What to do if more than half of the rows are bad.",
    ),
]
PhoneColumn = Annotated[
    str | None,
    typer.Option("--phone-column", metavar="NAME", help="The column that holds the number."),
]
Mapped = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="VARIABLE=COLUMN",
        help="The call variable that a column becomes; may be repeated.",
    ),
]
Sheet = Annotated[
    str | None, typer.Option("--sheet", metavar="NAME", help="The sheet of a workbook.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Create nothing; say how the file is read and what is taken."),
]
SaveRejected = Annotated[
    Path | None,
    typer.Option(
        "--save-rejected",
        metavar="FILE.csv",
        dir_okay=False,
        writable=True,
        help="Write the rows that were left out there, to be corrected and uploaded again.",
    ),
]
Start = Annotated[
    str | None,
    typer.Option("--start", metavar="TIME", help="Begin then; without an offset, campaign's time."),
]
End = Annotated[
    str | None,
    typer.Option("--end", metavar="TIME", help="Start no call after this; as --start."),
]
CallContext = Annotated[
    str | None,
    typer.Option("--context", metavar="JSON", help="What the agent is told with every call."),
]
Metadata = Annotated[
    str | None, typer.Option("--metadata", metavar="JSON", help="Kept with the batch.")
]
Concurrency = Annotated[
    int | None, typer.Option("--concurrency", min=1, help="The most calls at a time.")
]
MaxRetries = Annotated[
    int | None, typer.Option("--max-retries", min=0, help="Instead of the campaign's retries.")
]
Region = Annotated[
    str | None,
    typer.Option("--default-region", metavar="IN", help="The country of numbers without a +."),
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="Repeating an upload with its key makes no second one."),
]
