"""One position on its way out: what it is worth at bankruptcy, and how that is handed out lot by lot."""

from __future__ import annotations

from collections.abc import Callable

from .money import implied_price_exists


class Closing:
    """The bankruptcy value of one position, fixed when its order is sent and handed out lot by lot.

    The first k of its lots are worth `first(k)`, so that any split over fills, gap walk, vault and
    deleveraging adds up to the same, for a part of the position as for all of it.
    """

    def __init__(self, terms, signed: int, first: Callable[[int], int]):
        self.signed = signed  # all lots of the position, of the closing trade's sign
        self.lots, self.first, self.done = abs(signed), first, 0
        self.value = first(self.lots)
        self.has_price = implied_price_exists(terms, signed, self.value)
        self.worth_of_fills = 0  # of the lots that were traded in the book

    def worth(self, k: int) -> int:
        """Value of the next k lots."""
        return self.first(self.done + k) - self.first(self.done)
