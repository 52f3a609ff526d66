"""What the catalogue says of a code to people, in one language."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """Sentences for whoever is woken by an alarm. `meanwhile` is a clause that ends its log line."""

    title: str
    meaning: str
    effect: str
    meanwhile: str
    action: str
    cleared_by: str
