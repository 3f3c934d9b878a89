"""One position on its way out: what it is worth at bankruptcy, and how that is handed out lot by lot."""

from __future__ import annotations

from .money import implied_price_exists


class Closing:
    """The bankruptcy value of one position, fixed when its order is sent and handed out lot by lot.

    The first k of its lots are worth floor(value * k / lots), so that any split over fills, gap walk, vault
    and deleveraging adds up to the same, for a part of the position as for all of it.
    """

    def __init__(self, terms, signed: int, value: int):
        self.signed = signed  # all lots of the position, of the closing trade's sign
        self.lots, self.value, self.done = abs(signed), value, 0
        self.has_price = implied_price_exists(terms, signed, value)
        self.worth_of_fills = 0  # of the lots that were traded in the book

    def worth(self, k: int) -> int:
        """Value of the next k lots."""
        return self.value * (self.done + k) // self.lots - self.value * self.done // self.lots
