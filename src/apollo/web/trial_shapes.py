"""How the answer of a dry run looks: what a list would come to, and how it is read.

Owns the API's description of it.
"""

from pydantic import Field

from apollo.web.batch_shapes import RejectedRow
from apollo.web.schemas import Answer, Warned


class ReadAs(Answer):
    """How a list was read."""

    format: str = Field(description="`csv`, `xlsx` or `json`; the others are of a file only.")
    encoding: str | None = Field(default=None, description="Of a CSV file, such as `UTF-8`.")
    separator: str | None = Field(default=None, description="Of a CSV file, such as `commas`.")
    sheet: str | None = Field(default=None, description="Of a workbook: the sheet that was read.")
    number_column: str | None = Field(default=None, description="The column of the numbers.")
    country_columns: list[str] = Field(
        default=[],
        description="Columns with the country or the area code of a number without a plus.",
    )
    variables: dict[str, str] = Field(
        default={}, description="Each call variable, and the column that it comes from."
    )


class TrialAnswer(Answer):
    """What a dry run found; nothing was created."""

    dry_run: bool = Field(description="Always true: nothing was created.")
    campaign_id: str = Field(description="The campaign, `cmp_…`.")
    would_be_refused: str | None = Field(
        description="Why the list as a whole would be refused; null if a batch would be created."
    )
    total_contacts: int = Field(description="How many people would be called.")
    rejected: list[RejectedRow] = Field(description="Rows left out, up to 1 000.")
    rejected_count: int = Field(description="All rows left out.")
    read_as: ReadAs = Field(description="How the list was read.")
    warnings: list[Warned] = Field(description="What may not be as you meant it; mostly empty.")
