"""Embed the margin tiers of a venue, every symbol, for `cascade.venues`.

    python tools/embed_tiers.py ../shared/data/margin_tiers/binance_usdm_202609.json
    python tools/embed_tiers.py ../shared/data/margin_tiers/hyperliquid_202601.json --leverage

The source is a file of tables that `cs.io.read_tiers` reads. Writes `cascade/venues/<the source's name>`,
short: each different table once, as floors, initial and maintenance rates and the last cap, with the symbols
that have it. Amounts are left out, since they follow from continuity; a source where they do not is refused.
With
--leverage the rates are 1 / leverage and half of it, and what is written is the leverage, exact where the
source's rates are rounded.
"""

import argparse
import json
from fractions import Fraction
from pathlib import Path

import cascade as cs
from cascade.tiers import table_of
from cascade.venues._tiers import expanded

TARGET = Path(__file__).resolve().parents[1] / "cascade" / "venues"


def short(value):
    """A number in as few characters as JSON allows."""
    return None if value is None else int(value) if value == int(value) else value


def compact(rows, leverage):
    floors = [short(row[0]) for row in rows]
    if leverage:
        return [floors, [round(1 / row[2]) for row in rows], short(rows[-1][1])]
    return [floors, [short(row[2]) for row in rows], [short(row[3]) for row in rows], short(rows[-1][1])]


def main(source: Path, leverage: bool) -> None:
    table = cs.io.read_tiers(source)
    given = json.loads(source.read_text())
    tables, symbols = [], {}
    for symbol, rows in table.items():
        entry = compact(rows, leverage)
        if entry not in tables:
            tables.append(entry)
        symbols[symbol] = tables.index(entry)
    head = {name: given[name] for name in ("exchange", "as_of", "source", "unit")}
    head["note"] = table.note
    written = head | {"tables": tables, "symbols": symbols}
    again = table_of(expanded(written), source.name)
    for symbol, rows in table.items():
        for row, back in zip(rows, again[symbol], strict=True):
            for a, b in zip(row, back, strict=True):
                near = Fraction(1, 10**5) if leverage else 0
                if (a is None) != (b is None) or (a is not None and abs(a - b) > near * abs(a)):
                    raise SystemExit(f"{symbol}: {row} would come back as {back}")
    text = json.dumps(written, ensure_ascii=False, separators=(",", ":"))
    for key in ("source", "unit", "note", "tables", "symbols"):
        text = text.replace(f',"{key}":', f',\n"{key}":', 1)
    (TARGET / source.name).write_text(text.replace("]],[[", "]],\n[[") + "\n", encoding="utf-8")
    print(f"{source.name}: {len(symbols)} symbols, {len(tables)} tables, {len(text.encode()):,} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--leverage", action="store_true")
    arguments = parser.parse_args()
    main(arguments.source, arguments.leverage)
