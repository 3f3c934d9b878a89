"""Embed margin tiers of a venue for `cascade.venues`.

    python tools/embed_tiers.py ../shared/data/margin_tiers/binance_usdm_20241024.json BTC/USDT:USDT
    ETH/USDT:USDT

The source has `exchange`, `as_of`, `source`, `unit` and tiers[symbol] = rows (floor, cap, initial rate,
maintenance rate, maintenance amount). Writes `cascade/venues/<the source's name>` with the symbols asked for,
under the venue's own names.
"""

import json
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "cascade" / "venues"
COLUMNS = ["floor", "cap", "initial_rate", "maintenance_rate", "maintenance_amount"]


def main(source: str, *symbols: str) -> None:
    read = json.loads(Path(source).read_text())
    tiers = {symbol.partition(":")[0].replace("/", ""): read["tiers"][symbol] for symbol in symbols}
    head = {name: read[name] for name in ("exchange", "as_of", "source", "unit")} | {"columns": COLUMNS}
    lines = [f"  {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
    lines.append('  "tiers": {')
    for k, (symbol, rows) in enumerate(tiers.items()):
        body = ",\n".join(f"      {json.dumps(row)}" for row in rows)
        lines.append(f"    {json.dumps(symbol)}: [\n{body}\n    ]" + ("," if k + 1 < len(tiers) else ""))
    lines.append("  }")
    target = TARGET / Path(source).name
    target.write_text("{\n" + "\n".join(lines) + "\n}\n")
    print(f"{target.name}: {', '.join(f'{symbol} {len(rows)} tiers' for symbol, rows in tiers.items())}")


if __name__ == "__main__":
    main(*sys.argv[1:])
