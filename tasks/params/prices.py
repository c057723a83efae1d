"""What things cost, in the unit of `compare.currency`, from prototype to scale; 0 where nobody says it."""

from typing import Annotated

from pydantic import Field

from tasks.params.sources import Block

Amount = Annotated[float, Field(ge=0)]


class PricesParams(Block):
    """Prices beside the machine's hour.

    `utilisation` is the share of its capacity that a standing machine works on average: who serves the busiest hour is
    idle in others. The tokens' prices are those of an endpoint, a million of each; null: none is compared.
    """

    utilisation: Annotated[float, Field(gt=0, le=1)] = 0.3
    prompt_tokens_million: Amount | None = None
    completion_tokens_million: Amount | None = None
    storage_gb_month: Amount = 0.0
    labelling_hour: Amount = 0.0
    labelling_hours_per_retrain: Amount = 0.0
