"""What names an invoice and who it is for: invoice ids, network user ids and OIBs."""

import re
from dataclasses import dataclass

from billing.periods import Period

NETWORK_USER_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_INVOICE_ID = re.compile(r"([A-Za-z0-9-]{1,64})\.([0-9]{4}-(?:0[1-9]|1[0-2]))\.([1-9][0-9]{0,8})")
_OIB = re.compile(r"[0-9]{11}")


@dataclass(frozen=True, slots=True, order=True)
class InvoiceId:
    """Whose invoice, for which period, in which revision: the same debt always has the same id."""

    network_user_id: str
    period: Period
    revision: int

    def __post_init__(self) -> None:
        if not _INVOICE_ID.fullmatch(str(self)):
            raise ValueError(f"{str(self)!r} is not an invoice id")

    @classmethod
    def parse(cls, text: str) -> "InvoiceId":
        """Reads `<network user id>.<YYYY-MM>.<revision>`; raises ValueError for anything else."""
        match = _INVOICE_ID.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not an invoice id")
        return cls(match[1], Period.parse(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{self.network_user_id}.{self.period}.{self.revision}"

    def next_revision(self) -> "InvoiceId":
        """The id of the correction that would follow."""
        return InvoiceId(self.network_user_id, self.period, self.revision + 1)


def is_invoice_id(text: str) -> bool:
    """Whether a text is an invoice's id (docs/spec/billing.md, "Identity")."""
    return _INVOICE_ID.fullmatch(text) is not None


def is_network_user_id(text: str) -> bool:
    """Whether a text may name a network user."""
    return NETWORK_USER_ID.fullmatch(text) is not None


def is_oib(text: str) -> bool:
    """Whether a text is an OIB: 11 digits, the last the check digit of ISO 7064 MOD 11,10."""
    if not _OIB.fullmatch(text):
        return False
    carry = 10
    for digit in text[:-1]:
        carry = ((carry + int(digit)) % 10 or 10) * 2 % 11
    return (11 - carry) % 10 == int(text[-1])
