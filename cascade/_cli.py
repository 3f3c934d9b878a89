"""The `cascade` command: a demonstration on embedded books, and runs of a user's own files."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from . import __version__, datasets
from ._report import amount, count
from .errors import CascadeError
from .market import Market
from .result import Result
from .shocks import Shock

TABLES = {
    "liquidations": ("all", "liquidations"),
    "waves": ("all", "liquidations", "summary"),
    "fills": ("all",),
    "prices": ("all", "liquidations"),
    "accounts": ("all", "liquidations", "summary"),
    "positions": ("all", "liquidations", "summary"),
    "flows": ("all",),
    "adl": ("all",),
}
"""What --out writes, and the `record` that each table needs; and the holdings where there is collateral."""
DPI = 150
THINNER = ("1", "0.9", "0.8", "0.7")
"""Depths at which the demonstration repeats its shock."""


class Progress:
    """Stages with their times, on the error stream so that reports can be piped."""

    def __init__(self, quiet: bool):
        self.quiet = quiet
        self.start = time.perf_counter()

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def stage(self, what: str) -> Iterator[Callable[[str], None]]:
        """Time a stage; what it calls the yielded function with is said behind it."""
        told: list[str] = []
        began = time.perf_counter()
        yield told.append
        detail = f": {', '.join(told)}" if told else ""
        self.say(f"[{time.perf_counter() - began:6.2f} s] {what}{detail}")

    def total(self) -> None:
        self.say(f"[{time.perf_counter() - self.start:6.2f} s] in all")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; by default the process's.

    Returns
    -------
    int : exit code: 0, 1 where vectors fail, 2 where the input is wrong, 130 where interrupted

    Raises
    ------
    SystemExit
        Wrong usage, as argparse has it.
    """
    arguments = parser().parse_args(argv)
    try:
        code = arguments.command(arguments)
        sys.stdout.flush()
    except (CascadeError, OSError, ModuleNotFoundError) as error:
        if isinstance(error, BrokenPipeError):
            return _broken_pipe()
        text = " ".join(str(error).split())
        print(f"cascade: error: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code or 0


def _broken_pipe() -> int:
    """The reader of our output has gone, as `head` does: no error, but nothing more to write either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(
        prog="cascade",
        description="Liquidation cascades on order books: who is liquidated, at what price, and who pays.",
        epilog="`cascade demo` needs nothing but this package and takes about a second.",
    )
    top.add_argument("--version", action="version", version=f"cascade {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="{demo,run,validate}")

    demo = commands.add_parser(
        "demo",
        help="shock real BTC and ETH books with a made-up population of accounts",
        description=(
            "Load the embedded books of the BTCUSDT and ETHUSDT perpetuals (Binance USD-M, 2024-08-08), "
            "put a seeded, made-up population of accounts on them, apply a shock and follow the cascade."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument("--accounts", type=int, default=100_000, metavar="N", help="number of accounts")
    demo.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the population")
    demo.add_argument(
        "--price",
        type=_decimal,
        default=Decimal("-0.08"),
        metavar="G",
        help="relative jump of all prices, -0.08 is 8%% down",
    )
    demo.add_argument(
        "--depth",
        type=_decimal,
        default=Decimal(1),
        metavar="F",
        help="the part of the books that stays, 0.8 is a fifth less",
    )
    demo.add_argument(
        "--fund",
        type=_decimal,
        default=Decimal(25_000_000),
        metavar="USDT",
        help="balance of the insurance fund",
    )
    _add_output(demo)
    demo.set_defaults(command=_demo)

    run = commands.add_parser(
        "run",
        help="run a scenario of your own files",
        description=(
            "Run a scenario: a TOML file that names instruments, books, accounts, positions, rules and a "
            "shock. Its tables are CSV or Parquet files. docs/scenario.md describes the format; "
            "examples/scenario is a complete one."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    run.add_argument("scenario", type=Path, metavar="scenario.toml", help="the scenario file")
    _add_output(run)
    run.set_defaults(command=_run)

    validate = commands.add_parser(
        "validate",
        help="evaluate published examples of venues' rules",
        description=(
            "Evaluate vectors: examples of margins, prices, liquidations and matching that venues, their "
            "code and its tests publish, as a JSON list of objects with id, venue, kind, model, inputs, "
            "expected, tolerance and source. Each is built as a market, an order book or a venue, and the "
            "answer is read from that. Prints what does not come out, and how many do; the exit code is 1 "
            "where one fails."
        ),
    )
    validate.add_argument("vectors", type=Path, metavar="vectors.json", help="the file of vectors")
    validate.add_argument(
        "--verbose", action="store_true", help="print every vector, and why one is unknown"
    )  # fmt: skip
    validate.set_defaults(command=_validate)
    return top


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--out", type=Path, default=argparse.SUPPRESS, metavar="DIR",
        help="write tables, summary.json, report.txt and cascade.png there",
    )  # fmt: skip
    command.add_argument(
        "--format",
        choices=("auto", "parquet", "csv"),
        default="auto",
        help="of the tables; auto is Parquet if pyarrow is there",
    )
    command.add_argument(
        "--quiet", action="store_true", default=argparse.SUPPRESS, help="print the result's report only"
    )


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return number


# The demonstration


def _demo(arguments: argparse.Namespace) -> None:
    quiet = getattr(arguments, "quiet", False)
    progress = Progress(quiet)
    about = datasets.BINANCE_BOOKS
    progress.say(
        f"Books of {about['venue']}, {about['moment']}; accounts are made up (seed {arguments.seed})."
    )
    with progress.stage("load books and margin tiers") as tell:
        market = datasets.binance_market(fund=arguments.fund)
        tell(f"{sum(len(orders.price) for orders in market.state().orders):,} levels")
    with progress.stage("draw and load accounts") as tell:
        people, positions = datasets.population(market, accounts=arguments.accounts, rng=arguments.seed)
        tell(f"{count(len(people), 'account')}, {count(len(positions), 'position')}")
    shock = Shock(price=arguments.price, depth=None if arguments.depth == 1 else arguments.depth)
    with progress.stage("run the cascade") as tell:
        result = market.run(shock)
        tell(f"{count(result.summary['events'], 'event')}, {count(result.summary['waves'], 'wave')}")
    variants = []
    if not quiet:
        with progress.stage("run it again on thinner books"):
            variants = [
                (
                    Decimal(f),
                    market.run(
                        Shock(price=arguments.price, depth=arguments.depth * Decimal(f)), record="summary"
                    ),
                )
                for f in THINNER
            ]
    out = getattr(arguments, "out", None)
    if out is not None:
        write_results(result, market, out, arguments.format, progress, "demo")
    progress.total()
    if quiet:
        print(result)
        return
    print(f"\n{market}\n\n{result}\n\n{_thinner_books(arguments, variants)}\n\n{_what_next(arguments, out)}")


def _thinner_books(arguments: argparse.Namespace, variants: list[tuple[Decimal, Result]]) -> str:
    """The same shock at several depths: where it tips over."""
    lines = [
        "The same shock on thinner books",
        f"{'depth':>6}{'waves':>7}{'accounts':>10}{'notional':>11}{'higher':>10}"
        f"{'fund left':>11}{'deleveraged':>13}"
        f"{'BTC low':>10}{'ETH low':>10}",
    ]
    deepest = 0.0
    for factor, result in variants:
        s = result.summary
        lows = [p["low"] / p["start"] - 1 for p in s["price"].values()]
        deepest = min([deepest, *lows])
        mark = "" if s["status"] == "settled" else f"  {s['status']}"
        lines.append(
            f"{arguments.depth * factor:>6.2f}{s['waves']:>7,}{s['liquidated_accounts']:>10,}"
            f"{amount(s['liquidated_notional']):>11}{amount(s['higher_order_notional']):>10}{amount(s['fund_end']):>11}"
            f"{amount(s['adl_notional']):>13}{lows[0]:>10.1%}{lows[1]:>10.1%}{mark}"
        )
    if deepest < -0.5:
        lines.append(
            "Falls beyond -50% say that the known bids were used up, not where a market would trade: the\n"
            "snapshot holds little of what stands far from the price, and nobody new steps in."
        )
    return "\n".join(lines)


def _what_next(arguments: argparse.Namespace, out: Path | None) -> str:
    depth = f", depth={arguments.depth}" if arguments.depth != 1 else ""
    fund = f", fund={arguments.fund:f}" if arguments.fund != 25_000_000 else ""
    saved = "" if out is None else f"\nTables, report and picture are in {out}."
    tables = (
        ""
        if out is not None
        else "\n  cascade demo --out DIR                       tables, summary.json, report and picture"
    )
    return f"""\
The books and tiers are real, the accounts are not; marks follow the contract's own trades, with no index to
hold them, which overstates the feedback at one instant (cs.venues.binance_usdm.notes).{saved}

The same in Python:
  import cascade as cs
  market = cs.datasets.binance_market(accounts={arguments.accounts:_}, rng={arguments.seed}{fund})
  print(market.run(cs.Shock(price={arguments.price}{depth})))

Next:{tables}
  cascade run scenario.toml --out DIR          your own books, accounts and positions: docs/scenario.md
  README.md, docs/model.md                     first steps; what the model does and what it leaves out"""


# A user's scenario


def _run(arguments: argparse.Namespace) -> None:
    from ._scenario import load_scenario

    quiet = getattr(arguments, "quiet", False)
    progress = Progress(quiet)
    with progress.stage(f"load {arguments.scenario}") as tell:
        scenario = load_scenario(arguments.scenario)
        tell(f"{count(len(scenario.market.margin()), 'margin account')}")
    with progress.stage("run the cascade") as tell:
        result = scenario.market.run(scenario.shock, **scenario.options)
        tell(f"{count(result.summary['events'], 'event')}, {count(result.summary['waves'], 'wave')}")
    out = getattr(arguments, "out", None)
    if out is not None:
        write_results(result, scenario.market, out, arguments.format, progress, scenario.name)
    progress.total()
    if not quiet:
        print(f"\n{scenario.name}\n\n{scenario.market}\n")
    print(result)


# Published examples


def _validate(arguments: argparse.Namespace) -> int:
    from .validation import evaluate, read_vectors

    verdicts = evaluate(read_vectors(arguments.vectors))
    for said in verdicts:
        if said.verdict == "failed":
            for line in said.lines():
                print(line)
        elif arguments.verbose:
            print(f"{said.verdict:<8}{said.id} ({said.model}){': ' + said.reason if said.reason else ''}")
    number = Counter(said.verdict for said in verdicts)
    print(", ".join(f"{number[word]} {word}" for word in ("passed", "failed", "unknown")))
    return int(number["failed"] > 0)


# Output


def write_results(
    result: Result, market: Market, out: Path, form: str, progress: Progress, name: str
) -> None:
    """Write every table that the run recorded, summary.json, report.txt and cascade.png into a folder.

    Parameters
    ----------
    out : Path
        Made if it is not there; files of these names in it are replaced.
    form : {"auto", "parquet", "csv"}
        "auto" is Parquet where pyarrow is installed.
    name : str
        What summary.json calls the run.
    """
    out.mkdir(parents=True, exist_ok=True)
    parquet = form == "parquet" or (form == "auto" and importlib.util.find_spec("pyarrow") is not None)
    suffix = "parquet" if parquet else "csv"
    with progress.stage(f"write {out}") as tell:
        files = []
        held = {"holdings": TABLES["positions"]} if market.collateral else {}
        for table, records in (TABLES | held).items():
            if result._record in records:
                path = out / f"{table}.{suffix}"
                written = getattr(result, table)
                written.write_parquet(path) if parquet else written.write_csv(path)
                files.append(path.name)
        text = json.dumps(
            _strict(_summary(result, market, name, files)), indent=2, allow_nan=False, ensure_ascii=False
        )
        (out / "summary.json").write_text(text + "\n", encoding="utf-8")
        (out / "report.txt").write_text(f"{market}\n\n{result}\n", encoding="utf-8")
        tell(f"{len(files)} tables ({suffix}), summary.json, report.txt")
    if importlib.util.find_spec("matplotlib") is None:
        progress.say(
            "           no cascade.png: it needs matplotlib (pip install 'liquidation-cascade[plot]')"
        )
        return
    with progress.stage("draw cascade.png"):
        draw(result, out / "cascade.png")


def draw(result: Result, path: Path) -> None:
    """Save the overview as a picture, without pyplot, which would look for a screen."""
    from matplotlib.figure import Figure

    from . import plot

    figure = Figure(figsize=(9, 9.9), layout="constrained", facecolor="white")
    plot.overview(result, figure=figure).savefig(path, dpi=DPI)


def _summary(result: Result, market: Market, name: str, files: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "cascade": __version__,
        "shock": str(result._shock),
        "rules": dataclasses.asdict(result._rules),
        "record": result._record,
        "market_digest": market.digest,
        "result_digest": result.digest if result._record == "all" else None,
        "summary": result.summary,
        "audit": result.audit,
        "files": files,
    }


def _strict(value: Any) -> Any:
    """What JSON can say: NaN and infinities, which it cannot, as null."""
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
