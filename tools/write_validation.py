"""Print docs/validation.md: what `cascade validate` says of published examples, vector by vector.

    python tools/write_validation.py ../shared/rules/vectors.json > docs/validation.md

A test keeps the two in step where the vectors are present.
"""

import sys
from collections import Counter
from pathlib import Path

from cascade.validation import evaluate, read_vectors

HEAD = """# Published examples, evaluated

`cascade validate vectors.json` evaluates examples of margins, prices, liquidations and matching that venues, their code and its tests publish. A
vector passes only when the answer is read from a `Market`, an `OrderBook`, a `VenueRules` or a `Venue` that was built from its inputs, or is a formula of
`cs.venues` where the venue is another machine (Drift, GMX, portfolio margin, SPAN). "Exact" means equal for integers and fractions, and within 1e-9 of
its size for a solved price. Unknown means that nothing here computes the rule; lending and auctions are left out on purpose.

## The five weakest claims

A passed vector says that the arithmetic agrees with what was published, not that the venue does it. Trust these least:

1. **Hyperliquid, who is deleveraged and at what price.** The index is implemented as it is printed, (mark / entry) x (notional / account value), which ranks
   winning shorts last; the side-aware reading is one field away. A study of 34,983 deleveraging fills of 2025-10-10 finds 99.4% of those hit in profit and
   no relation to leverage: the printed queue may not be what runs. Execution is at the previous mark in the newest text, at the previous oracle price
   in older copies.
2. **Bybit, maintenance margin.** The help pages charge it on the value at entry without a fee, an article of May 2026 on the value at the mark with the fee of
   closing; there is a preset for each. For the trigger of deleveraging the text says "<" and its own example fires at equality.
3. **OKX, deleveraging.** Rank, price (mark in newer texts, bankruptcy price in older ones) and the two tiers a step are known from secondary texts only.
4. **Binance, cross and hedge mode.** The published formula is an image: its legend was read, the algebra was derived again from margin balance =
   maintenance margin. How large the first immediate-or-cancel order of a liquidation is, is not published at all.
5. **Deribit, BitMEX, dYdX: numbers that no document gives.** Deribit's share of a position a round is one user's report; BitMEX's fee terms in maintenance come from a support
   answer, its examples leave them out; dYdX's governance values on mainnet are not in the code that was read.
"""


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def plain(value) -> str:
    """A value in a form that does not depend on the last digits of a float."""
    if isinstance(value, dict):
        return "; ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain(item) for item in value) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def page(vectors: Path) -> str:
    said = sorted(evaluate(read_vectors(vectors)), key=lambda v: (v.venue, v.kind, v.model, v.id))
    count = Counter(v.verdict for v in said)
    lines = [HEAD, "## All vectors", ""]
    lines.append(", ".join(f"{count[word]} {word}" for word in ("passed", "failed", "unknown")) + ".")
    lines += ["", "| venue | rule | id | source | expected | computed | verdict |", "|---|---|---|---|---|---|---|"]
    for v in said:
        computed = plain(dict(v.computed)) if v.computed else v.reason
        cells = (v.venue, f"{v.kind}: {v.model}", v.id, v.source, plain(dict(v.expected)), computed, v.verdict)
        lines.append("| " + " | ".join(cell(text) for text in cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(Path(sys.argv[1])), end="")
