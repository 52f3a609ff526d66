"""Results that could not be stored yet, because somebody else has locked the invoice or one of its meters."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from actors.messages import Store

RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class TryDeferred:
    """Time to store what was deferred."""


class DeferredStores:
    """Keeps them for the db_writer, which is told by `after` (seconds, message) when to take them back."""

    def __init__(self, after: Callable[[float, object], object]) -> None:
        self._after = after
        self._kept: list[Store] = []

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def invoice_ids(self) -> list[str]:
        """What nobody is to claim meanwhile, though no actor has it in hand."""
        return [each for store in self._kept for each in store.invoice_ids]

    def keep(self, stores: Sequence[Store], invoice_ids: Collection[str]) -> None:
        """Keeps the parts of the stores that concern these invoices."""
        parts = [store.part(invoice_ids) for store in stores]
        kept = [part for part in parts if part.invoice_ids]
        if kept and not self._kept:
            self._after(RETRY_SECONDS, TryDeferred())
        self._kept += kept

    def take(self) -> list[Store]:
        """Gives them all back."""
        taken, self._kept = self._kept, []
        return taken
