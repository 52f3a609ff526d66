"""Owns the offer's shape as docs/spec/altibiz-openapi.yaml gives it."""

from datetime import date
from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from altibiz.outcomes import DECIMAL_PATTERN
from billing.identity import InvoiceId

Ordinal = Literal["1.1.", "1.2.", "1.3.", "1.4.", "1.5.", "1.6.", "2.1.", "2.2.", "2.3.", "2.4."]
ORDINALS: Final = get_args(Ordinal)


def _is_date(text: str) -> str:
    date.fromisoformat(text)
    return text


DecimalText = Annotated[str, StringConstraints(pattern=DECIMAL_PATTERN)]
InvoiceIdText = Annotated[str, AfterValidator(lambda text: str(InvoiceId.parse(text)))]
DateText = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_is_date)]


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    ordinal: Ordinal
    name: Annotated[str, Field(min_length=1, max_length=200)]
    unit: Annotated[str, Field(min_length=1, max_length=20)]
    quantity: DecimalText
    price_eur: DecimalText


def _has_each_ordinal(items: list[Item]) -> list[Item]:
    if {item.ordinal for item in items} != set(ORDINALS):
        raise ValueError("each ordinal has to stand once")
    return items


class NetworkUserInvoice(BaseModel):
    """An offered invoice; amounts are decimal strings, never numbers."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    network_user_invoice_id: InvoiceIdText
    sub_project_code: Annotated[str, Field(min_length=1, max_length=64)]
    invoice_date: DateText
    items: Annotated[list[Item], Field(min_length=10, max_length=10), AfterValidator(_has_each_ordinal)]
    total_eur: DecimalText
    tax_rate_percent: DecimalText
    tax_eur: DecimalText
    total_with_tax_eur: DecimalText
