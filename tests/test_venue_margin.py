# ruff: noqa: E501 - one case a line reads best

"""Liquidation and bankruptcy prices, maintenance and initial margin as venues publish them, through the public API.

The worked examples lie beside the checkout (`../shared`, or `CASCADE_SHARED`); a few of them stand here literally.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import random_markets

import cascade as cs

SHARED = Path(os.environ.get("CASCADE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
VECTORS = SHARED / "rules" / "vectors.json"
ENTRY = {"maintenance_on": "entry"}


def number(text) -> Fraction:
    """A number of the file: a decimal, a fraction, or a product of such."""
    value = Fraction(1)
    for factor in str(text).split("*"):
        top, *below = factor.split("/")
        value *= Fraction(top)
        for part in below:
            value /= Fraction(part)
    return value


def close(found, expected, tolerance) -> bool:
    expected = number(expected)
    if tolerance == "exact":
        tolerance = {"rel": "1e-9"}
    room = number(tolerance["abs"]) if "abs" in tolerance else number(tolerance["rel"]) * abs(expected)
    return math.isfinite(found) and abs(Fraction(float(found)) - expected) <= room


def step_of(amount: Fraction) -> Fraction:
    """The power of ten that a decimal is a whole number of."""
    step = Fraction(1)
    while (amount / step).denominator != 1:
        step /= 10
    return step


def market_of(legs, balance, *, rules=None, isolated=False):
    """One account with these legs: symbol, side, size, entry, mark, tiers and further arguments of Instrument.

    Everything is as fine-grained as 60 bits of money allow, so that no number of the example is rounded.
    """
    worth = abs(balance)
    for leg in legs:
        inverse = leg.get("contract") == "inverse"
        value = leg["size"] / leg["entry"] if inverse else leg["size"] * leg["entry"]
        worth += value * leg.get("multiplier", 1)
    quantum = Fraction(10) ** (math.ceil(math.log10(worth)) - 15)
    instruments, seen = [], {}
    for leg in legs:
        if leg["symbol"] in seen:
            continue
        seen[leg["symbol"]] = leg
        lot = min(step_of(x["size"]) for x in legs if x["symbol"] == leg["symbol"])
        tick = Fraction(10) ** (math.floor(math.log10(leg["entry"])) - 8)
        if leg.get("contract") != "inverse":  # a lot is worth whole quanta a tick
            tick = max(tick, quantum / lot / leg.get("multiplier", 1))
        else:  # a lot's value at one tick must fit
            tick = max(tick, lot * leg.get("multiplier", 1) / quantum / 2**58)
        keep = ("contract", "multiplier", "tiers", "taker_fee", "initial_slope", "maintenance_slope")
        more = {name: leg[name] for name in keep if name in leg}
        instruments.append(cs.Instrument(leg["symbol"], tick_size=leg.get("tick", tick), lot_size=lot, **more))
    market = cs.Market(instruments, cash_quantum=quantum, rules=rules or cs.VenueRules())
    market.set_prices(index={s: leg.get("mark", leg["entry"]) for s, leg in seen.items()})
    market.set_prices(last={i.symbol: round(seen[i.symbol]["entry"] / i.tick_size) * i.tick_size for i in instruments})
    table = {
        "account": ["a"] * len(legs),
        "instrument": [leg["symbol"] for leg in legs],
        "size": [str_of(leg["side"] * leg["size"]) for leg in legs],
        "entry_price": [str_of(leg["entry"]) for leg in legs],
        "position_side": [leg.get("position_side", "both") for leg in legs],
    }
    if isolated:
        table["margin"] = [str_of(balance)]
    else:
        market.load_accounts({"account": ["a"], "balance": [str_of(balance)]})
    market.load_positions(table)
    return market


def str_of(x: Fraction) -> str:
    """A rational as a decimal string, to 30 digits."""
    if x.denominator == 1:
        return str(x.numerator)
    scaled = round(x * 10**25)
    text = f"{abs(scaled):026d}"
    return ("-" if scaled < 0 else "") + text[:-25] + "." + text[-25:]


def tiers(rate, amount="0", initial="1"):
    return [(0, None, initial, number(rate), number(amount))]


INDEX = {"mark": "index"}


# -- the examples, one builder a model -----------------------------------------------------------------------


def linear_iso_mark_mm(x, rules=None):
    leg = {
        "symbol": "X", "side": x["side"], "size": number(x["size"]), "entry": number(x["entry_price"]),
        "tiers": tiers(x["mmr"], x.get("mm_deduction", 0)), "taker_fee": number(x.get("taker", 0)),
    }  # fmt: skip
    return market_of([leg], number(x["margin"]), rules=cs.VenueRules(**INDEX, **rules or {}), isolated=True)


def linear_iso_mark_mm_fee(x):
    return linear_iso_mark_mm(x, {"maintenance_fee": "taker"})


def linear_iso_entry_mm(x):
    size, entry = number(x["size"]), number(x["entry"])
    leg = {"symbol": "X", "side": x["side"], "size": size, "entry": entry}
    leg["tiers"] = tiers(x["mmr"], x["mm_deduction"])
    margin = size * entry / number(x["leverage"]) + number(x["extra_margin"])
    return market_of([leg], margin, rules=cs.VenueRules(**INDEX, **ENTRY), isolated=True)


def inverse_leg(x, quantity, multiplier="1"):
    return {
        "symbol": "X", "side": x.get("side", 1), "size": number(quantity), "entry": number(x["entry"]),
        "contract": "inverse", "multiplier": number(multiplier), "tiers": tiers(x.get("mmr", 0), x.get("cum_coin", 0)),
        "taker_fee": number(x.get("taker", 0)),
    }  # fmt: skip


def inverse_iso_entry_mm(x):
    leg = inverse_leg(x, x["qty"])
    margin = leg["size"] / leg["entry"] / number(x["leverage"])
    return market_of([leg], margin, rules=cs.VenueRules(**INDEX, **ENTRY), isolated=True)


def inverse_iso_mark_mm(x):
    leg = inverse_leg(x, x["contracts"], x["multiplier"])
    return market_of([leg], number(x["margin_coin"]), rules=cs.VenueRules(**INDEX), isolated=True)


def binance_linear(x):
    # The other contracts' maintenance and profit, given as sums, are one more position's.
    leg = {"symbol": "X", "side": x["side"], "size": number(x["size"]), "entry": number(x["entry"])}
    leg["tiers"] = tiers(x["mmr"], x["cum"])
    balance = number(x["wb"]) - number(x["tmm"]) + number(x["upnl"])
    return market_of([leg], balance, rules=cs.VenueRules(**INDEX))


def binance_cross(x):
    legs = [
        {"symbol": p["sym"], "side": p["side"], "size": number(p["size"]), "entry": number(p["entry"]),
         "mark": number(p["mark"]), "tiers": tiers(p["mmr"], p["cum"])}
        for p in x["positions"]
    ]  # fmt: skip
    return market_of(legs, number(x["wb"]), rules=cs.VenueRules(**INDEX))


def binance_hedge(x):
    """Both legs of one symbol, each with the rate and amount of its own tier: one table in which the larger leg
    is in the upper tier and the smaller in the lower, at the price where the account is liquidated."""
    lower, upper = sorted(x["legs"], key=lambda leg: number(leg["size"]))
    legs = [
        {"symbol": "X", "side": leg["side"], "size": number(leg["size"]), "entry": number(leg["entry"]),
         "position_side": "long" if leg["side"] > 0 else "short"}
        for leg in x["legs"]
    ]  # fmt: skip
    price = legs[0]["entry"]
    for _ in range(3):
        between = price * (number(lower["size"]) + number(upper["size"])) / 2
        floor = Fraction(round(between * 100), 100)
        rows = [
            (0, floor, 1, number(lower["mmr"]), number(lower["cum"])),
            (floor, None, 1, number(upper["mmr"]), number(upper["cum"])),
        ]
        balance = number(x["wb"]) - number(x["tmm"]) + number(x["upnl"])
        market = market_of([leg | {"tiers": rows} for leg in legs], balance, rules=cs.VenueRules(**INDEX))
        price = Fraction(float(market.liquidation_prices()["liquidation_price"][0]))
    return market


def bitmex_isolated_simple(x):
    leg = {"symbol": "X", "side": x["side"], "entry": number(x["entry"])}
    leg["size"] = number(x["position_value"]) / number(x["entry"])
    leg["tiers"] = tiers(x["mm"])
    return market_of([leg], number(x["margin"]), rules=cs.VenueRules(**INDEX, **ENTRY), isolated=True)


def linear_bankruptcy_margin(x):
    leg = {"symbol": "X", "side": x["side"], "size": number(x["size"]), "entry": number(x["entry"])}
    return market_of([leg], number(x["margin"]) + number(x["extra"]), isolated=True)


def inverse_bankruptcy(x):
    leg = inverse_leg(x, "10000")
    return market_of([leg], leg["size"] / leg["entry"] / number(x["leverage"]), isolated=True)


def bybit_inverse_cross(x):
    rules = cs.VenueRules(**INDEX, **ENTRY, maintenance_fee="taker_at_bankruptcy", bankruptcy_fee="taker")
    leg = inverse_leg(x, x["qty"]) | {"tick": number(x["tick"])}
    return market_of([leg], number(x["balance"]) - number(x["order_margin"]), rules=rules)


def phemex(x):
    """The margin assigned to the position holds the fee for closing at its bankruptcy price."""
    value, fee = number(x["open_value"]), number(x["taker"])
    margin = value / number(x["leverage"])
    margin += (value - margin) * fee
    leg = {"symbol": "X", "side": 1, "size": number(x["size"]), "entry": value / number(x["size"])}
    leg |= {"tiers": tiers(x["mmr"], x["mm_amount"]), "taker_fee": fee}
    return market_of([leg], margin, rules=cs.VenueRules(**INDEX, maintenance_fee="taker"), isolated=True)


def dydx_bankruptcy(x):
    instruments, prices = [], {}
    for p in x["positions"]:
        initial, part = Fraction(p["imf_ppm"], 10**6), Fraction(p["mf_ppm"], 10**6)
        rows = [(0, None, initial, initial * part)]
        lot = 1 / number(p["unit"])
        tick = max(Fraction(1, 100), Fraction(1, 10**6) / lot)
        instruments.append(cs.Instrument(p["market"], tick_size=tick, lot_size=lot, tiers=rows))
        prices[p["market"]] = number(p["price"])
    rules = cs.VenueRules(**INDEX, bankruptcy_share="maintenance")
    market = cs.Market(instruments, cash_quantum="1e-6", rules=rules)
    market.set_prices(index=prices)
    basis, table = 0, {"account": [], "instrument": [], "size": [], "entry_price": []}
    for p in x["positions"]:
        size = p["quantums"] / number(p["unit"])
        for name, value in zip(table, ("a", p["market"], str_of(size), p["price"]), strict=True):
            table[name].append(value)
        basis += size * number(p["price"])
    # dYdX keeps what was paid in the quote balance; here it is the positions' basis.
    market.load_accounts({"account": ["a"], "balance": [str_of(Fraction(x["quote_quantums"], 10**6) + basis)]})
    market.load_positions(table)
    return market


BUILDERS = {
    f.__name__: f
    for f in (
        linear_iso_mark_mm, linear_iso_mark_mm_fee, linear_iso_entry_mm, inverse_iso_entry_mm, inverse_iso_mark_mm,
        binance_linear, binance_cross, binance_hedge, bitmex_isolated_simple, linear_bankruptcy_margin,
        inverse_bankruptcy, bybit_inverse_cross, phemex, dydx_bankruptcy,
    )
}  # fmt: skip


def check_prices(vector):
    x, expected, tolerance = vector["inputs"], vector["expected"], vector["tolerance"]
    market = BUILDERS[vector["model"]](x)
    prices = market.liquidation_prices()
    row = x.get("target", 0)
    found = {name: prices[name][row] for name in ("liquidation_price", "bankruptcy_price")}
    if "tick" in x and "liquidation_price" in expected:  # published after rounding up to the tick, for a long
        tick = number(x["tick"])
        found["liquidation_price"] = math.ceil(Fraction(float(found["liquidation_price"])) / tick) * tick
    for name, price in found.items():
        if name in expected:
            assert close(price, expected[name], tolerance), (vector["id"], name, price, expected[name])
    if "rounded" in expected:
        tick = number(x["tick"])
        assert math.ceil(Fraction(float(found["bankruptcy_price"])) / tick) * tick == number(expected["rounded"])
    if "quote_delta" in expected:
        closed = abs(x["delta_quantums"]) / number(x["positions"][row]["unit"])
        worth = market.bankruptcy_value("a", str(prices["instrument"][row]), str_of(closed))
        assert -round(worth * 10**6) == expected["quote_delta"], (vector["id"], worth)
    if len(x.get("legs", ())) == 2:
        assert prices["liquidation_price"][0] == prices["liquidation_price"][1]


def vectors(*kinds):
    """The examples of these kinds that a builder knows, as parameters; one that skips where the file is not."""
    if not VECTORS.exists():
        return [pytest.param(None, marks=pytest.mark.skip(f"no {VECTORS}; set CASCADE_SHARED"))]
    found = [v for v in json.loads(VECTORS.read_text()) if v["kind"] in kinds]
    return [pytest.param(v, id=v["id"]) for v in found]


@pytest.mark.fast
@pytest.mark.parametrize("vector", vectors("liquidation_price", "bankruptcy_price"))
def test_published_prices(vector):
    assert vector["model"] in BUILDERS, "every model of these kinds can be built as a market"
    check_prices(vector)


# -- margin requirements -------------------------------------------------------------------------------------


def dydx_im(x):
    """One position of the notional, in an instrument whose open interest others make up."""
    rate = Fraction(x["imf_ppm"], 10**6)
    scaled = x["upper"] > 0
    instrument = cs.Instrument(
        "X", tick_size="0.01", lot_size="0.0001", tiers=[(0, None, rate, rate / 2)],
        open_interest_floor=str_of(Fraction(x["lower"], 10**6)) if scaled else None,
        open_interest_cap=str_of(Fraction(x["upper"], 10**6)) if scaled else None,
    )  # fmt: skip
    market = cs.Market(instrument, cash_quantum="1e-6", rules=cs.VenueRules(**INDEX))
    # At a price of 0.01 a lot is worth a quantum.
    market.set_prices(index={"X": "0.01"})
    held = {"a": x["notional"], "b": max(x["oi"] - x["notional"], 0), "c": -x["notional"]}
    held = {name: lots for name, lots in held.items() if lots}
    market.load_accounts({"account": [*held], "balance": [1e9] * len(held)})
    sizes = [str_of(Fraction(lots, 10**4)) for lots in held.values()]
    table = {"account": [*held], "instrument": ["X"] * len(held), "size": sizes, "entry_price": ["0.01"] * len(held)}
    market.load_positions(table)
    return market


def deribit_linear(x):
    rate, slope = number(x["base_rate"]), number(x["per_unit"])
    instrument = cs.Instrument(
        "X", tick_size="0.5", lot_size=1, tiers=[(0, None, rate, rate / 2)], initial_slope=slope, maintenance_slope=slope
    )
    market = cs.Market(instrument, rules=cs.VenueRules(**INDEX))
    market.set_prices(index={"X": x["price"]})
    market.load_accounts({"account": ["a"], "balance": ["0"]})
    market.load_positions({"account": ["a"], "instrument": ["X"], "size": [x["size"]], "entry_price": [x["price"]]})
    return market


def check_requirement(vector):
    x, expected = vector["inputs"], vector["expected"]
    if vector["model"] == "dydx_im":
        market = dydx_im(x)
        assert market.margin()["initial"][0] == expected["initial_margin"] / 10**6
        assert market.liquidation_prices()["initial"][0] == expected["initial_margin"] / 10**6
        assert market.margin()["maintenance"][0] == -(-x["imf_ppm"] * x["notional"] // (2 * 10**6)) / 10**6
    elif vector["model"] == "deribit_linear":
        market = deribit_linear(x)
        initial, price = market.margin()["initial"][0], float(x["price"])
        assert close(initial, expected["margin_usd"], "exact")
        assert close(initial / price, expected["margin_coin"], "exact")
        assert close(initial / price / float(x["size"]), expected["rate"], "exact")
        half = (number(x["base_rate"]) / 2 + number(x["per_unit"]) * number(x["size"])) * number(x["size"])
        assert close(market.margin()["maintenance"][0], half * number(x["price"]), "exact")
    elif vector["model"] == "tier_mm":
        rows = [number(r) for r in x["rates"]]
        caps = [*x["floors"][1:], None]
        table = [(f, c, 1, r) for f, c, r in zip(x["floors"], caps, rows, strict=True)]
        leg = {"symbol": "X", "side": 1, "size": number(x["notional"]), "entry": Fraction(1), "tiers": table}
        needed = market_of([leg], Fraction(10**9), rules=cs.VenueRules(**INDEX)).margin()["maintenance"][0]
        assert close(needed, expected["maintenance_margin"], "exact")
    elif vector["model"] == "bybit_order_cost":
        table = [(0, None, 1 / number(x["leverage"]), 0)]
        leg = {"symbol": "X", "side": 1, "size": number(x["qty"]), "entry": number(x["entry"]), "tiers": table}
        leg["taker_fee"] = number(x["taker"])
        rules = cs.VenueRules(**INDEX, **ENTRY, maintenance_fee="taker_at_bankruptcy")
        market = market_of([leg], number(expected["initial_margin"]), rules=rules, isolated=True)
        table = market.liquidation_prices()
        assert close(table["initial"][0], expected["initial_margin"], "exact")
        assert close(table["maintenance"][0], expected["close_fee"], "exact")
    else:
        pytest.skip(f"{vector['model']}: not about an account's margin here")


@pytest.mark.fast
@pytest.mark.parametrize("vector", vectors("margin_requirement"))
def test_published_requirements(vector):
    check_requirement(vector)


# -- the same, literally, where the file is not here -----------------------------------------------------------


def case(name, kind, model, inputs, expected, tolerance="exact"):
    fields = {"id": name, "kind": kind, "model": model, "inputs": inputs, "expected": expected, "tolerance": tolerance}
    return pytest.param(fields, id=name)


ETH = {"sym": "ETHUSDT", "side": 1, "size": "3683.979", "entry": "1456.84", "mark": "1335.18", "mmr": "0.10", "cum": "135365"}
BTC = {"sym": "BTCUSDT", "side": 1, "size": "109.488", "entry": "32481.98", "mark": "31967.27", "mmr": "0.025", "cum": "16300"}
LONG = {"market": "BTC", "quantums": 400000, "unit": "100000000", "price": "50000", "imf_ppm": 200000, "mf_ppm": 500000}
PAIR = [LONG, {**LONG, "market": "ETH", "quantums": 100000000, "unit": "1000000000", "price": "3000"}]
LITERAL = [
    case("binance cross", "liquidation_price", "binance_cross",
         {"wb": "1535443.01", "target": 1, "positions": [ETH, BTC]}, {"liquidation_price": "26316.89"}, {"abs": "0.005"}),
    case("entry", "liquidation_price", "linear_iso_entry_mm",
         {"side": -1, "entry": "20000", "size": "1", "leverage": "50", "mmr": "0.005", "mm_deduction": "0",
          "extra_margin": "3000"}, {"liquidation_price": "23300"}),
    case("fee", "liquidation_price", "linear_iso_mark_mm_fee",
         {"side": -1, "entry_price": "10", "size": "2", "margin": "10*2/5", "mmr": "0.01", "taker": "0.0006"},
         {"liquidation_price": "11.87413417771621"}, {"rel": "1e-9"}),
    case("bybit inverse cross", "bankruptcy_price", "bybit_inverse_cross",
         {"qty": "10000", "entry": "8000", "balance": "0.5", "order_margin": "0", "mmr": "0.005", "taker": "0.00075",
          "tick": "0.5"}, {"bankruptcy_price": "5718.57", "liquidation_price": "5739.50"}, {"abs": "0.005"}),
    case("dydx two longs", "bankruptcy_price", "dydx_bankruptcy",
         {"quote_quantums": -490000000, "positions": PAIR, "target": 1, "delta_quantums": -100000000},
         {"quote_delta": 294000000}),
    case("dydx part", "bankruptcy_price", "dydx_bankruptcy",
         {"quote_quantums": -13000000, "positions": [{**LONG, "quantums": 100000000}], "target": 0,
          "delta_quantums": -21347}, {"quote_delta": 2776}),
]  # fmt: skip


@pytest.mark.fast
@pytest.mark.parametrize("vector", LITERAL)
def test_literal_prices(vector):
    check_prices(vector)


@pytest.mark.fast
@pytest.mark.parametrize(
    "vector",
    [
        case("deribit", "margin_requirement", "deribit_linear",
             {"base_rate": "0.02", "per_unit": "0.00005", "size": "350", "price": "100000"},
             {"rate": "0.0375", "margin_coin": "13.125", "margin_usd": "1312500"}),
        case("dydx", "margin_requirement", "dydx_im",
             {"imf_ppm": 200000, "notional": 500000, "oi": 28123456789123, "lower": 25000000000000,
              "upper": 60000000000000}, {"initial_margin": 135697}),
    ],
)  # fmt: skip
def test_literal_requirements(vector):
    check_requirement(vector)


# -- tiers as venues publish them ------------------------------------------------------------------------------


def tier_tables():
    """Every table of tiers beside the checkout; one that skips where they are not."""
    files = sorted((SHARED / "data" / "margin_tiers").glob("*.json"))
    if not files:
        return [pytest.param(None, marks=pytest.mark.skip("no margin_tiers; set CASCADE_SHARED"))]
    return [pytest.param(path, id=path.stem) for path in files]


@pytest.mark.fast
@pytest.mark.parametrize("path", tier_tables())
def test_tables_of_tiers_load(path):
    """Rounded initial rates, empty last caps and amounts that are left out included."""
    for symbol, rows in json.loads(path.read_text()).get("tiers", {}).items():
        instrument = cs.Instrument(symbol, tick_size=1, lot_size=1, tiers=rows)
        assert len(instrument.tiers) == len(rows)
        for tier, row in zip(instrument.tiers, rows, strict=True):
            assert tier.maintenance_rate == Fraction(repr(row[3]))
            if row[4] is not None:
                assert tier.amount == Fraction(repr(row[4]))


@pytest.mark.fast
def test_amounts_of_none_follow_from_continuity():
    given = [(0, 100, 0.02, 0.01, None), (100, 300, 0.04, 0.02, None), (300, None, 0.1, 0.05, None)]
    tiers = cs.Instrument("X", tick_size=1, lot_size=1, tiers=given).tiers
    assert [tier.amount for tier in tiers] == [0, 1, 10]
    with pytest.raises(cs.InputTypeError, match=r"tiers\[1\].amount = null"):
        cs.Instrument("X", tick_size=1, lot_size=1, tiers=[(0, 100, 0.02, 0.01, 0), (100, None, 0.04, 0.02, None)])


# -- tables and engines -----------------------------------------------------------------------------------------


def check_tables(seed):
    """What the tables say each position needs and is worth is what the engines decide by."""
    market, _, run = random_markets.make(seed)
    rules, state = run["rules"], market.state()
    try:
        prices, accounts = market.liquidation_prices(rules), market.margin(rules)
    except cs.RangeError:
        return
    engine = cs.reference.Engine(state, rules)
    users = [a for a in engine.accounts if a.mode]
    assert accounts["equity"].tolist() == [market.to_money(engine.equity(a, engine.marks)) for a in users]
    needed = [market.to_money(engine.account_maintenance(a, engine.marks)) for a in users]
    assert accounts["maintenance"].tolist() == needed
    rows = [(a, row) for a in users for row in a.open_rows()]
    needed = [market.to_money(engine.row_maintenance(a, row, engine.marks)) for a, row in rows]
    assert prices["maintenance"].tolist() == needed
    values = [market.to_money(engine.bankruptcy_value(a, row, engine.marks)) for a, row in rows]
    assert prices["bankruptcy_value"].tolist() == values
    for k, (a, (i, _)) in enumerate(rows):
        names = ("account", "instrument", "position_side", "margin_mode")
        account, instrument, side, mode = (prices[name][k].item() for name in names)
        whole = market.bankruptcy_value(account, instrument, position_side=side, margin_mode=mode, rules=rules)
        assert whole == values[k]
        lots = abs(a.positions[i, _].lots)
        if lots > 1:
            size = market.instruments[i].to_size(lots - 1)
            part = market.bankruptcy_value(account, instrument, size, position_side=side, margin_mode=mode, rules=rules)
            assert part == market.to_money(engine.bankruptcy_values(a, (i, _), engine.marks)(lots - 1))


@pytest.mark.fast
def test_tables_are_what_engines_decide_by_on_a_few():
    for seed in range(60):
        check_tables(seed)


def test_tables_are_what_engines_decide_by():
    for seed in range(60, 1000):
        check_tables(seed)


@pytest.mark.fast
def test_parts_of_a_bankruptcy_value():
    """dYdX's formula, -DNNV - TNC |DMMR| / TMMR rounded up, for parts of one position of two."""
    rng = np.random.default_rng(2)
    for _ in range(200):
        pair = [{**leg, "quantums": int(rng.choice([-1, 1]) * rng.integers(1, 10**8))} for leg in PAIR]
        numbers = [(leg["quantums"], 500 if leg["market"] == "BTC" else 3, leg["imf_ppm"]) for leg in pair]
        needs = [-(-abs(n) * price * ppm // (2 * 10**6)) for n, price, ppm in numbers]
        equity = int(rng.integers(-sum(needs), 2 * sum(needs)))
        quote = equity - sum(n * price for n, price, _ in numbers)
        market = dydx_bankruptcy({"quote_quantums": quote, "positions": pair})
        k = int(rng.integers(2))
        n, price, ppm = numbers[k]
        part = int(rng.integers(1, abs(n) + 1)) * (1 if n > 0 else -1)
        freed = needs[k] - -(-abs(n - part) * price * ppm // (2 * 10**6))
        expected = part * price - equity * freed // sum(needs)
        size = str_of(Fraction(abs(part)) / number(pair[k]["unit"]))
        assert -round(market.bankruptcy_value("a", pair[k]["market"], size) * 10**6) == expected


@pytest.mark.fast
def test_bankruptcy_value_refuses():
    market = dydx_bankruptcy({"quote_quantums": -490000000, "positions": PAIR})
    with pytest.raises(cs.InputError, match=r"account = 'b': not loaded"):
        market.bankruptcy_value("b", "ETH")
    with pytest.raises(cs.InputError, match=r"no open position \(long, cross\)"):
        market.bankruptcy_value("a", "ETH", position_side="long")
    with pytest.raises(cs.InputError, match="position_side = 'up': must be one of both, long, short"):
        market.bankruptcy_value("a", "ETH", position_side="up")
    with pytest.raises(cs.InputError, match="margin_mode = 5: must be cross or isolated"):
        market.bankruptcy_value("a", "ETH", margin_mode=5)
    for size in (0, 1):
        with pytest.raises(cs.InputError, match=rf"size = {size}: must be > 0 and at most 0.1"):
            market.bankruptcy_value("a", "ETH", size)


@pytest.mark.fast
def test_a_closing_fee_above_one_half_is_refused():
    leg = {"symbol": "X", "side": 1, "size": Fraction(1), "entry": Fraction(10), "taker_fee": Fraction("0.6")}
    market = market_of([leg], Fraction(5), rules=cs.VenueRules(**INDEX, bankruptcy_fee="taker"))
    with pytest.raises(cs.RangeError, match=r"taker_fee = 0.6: must be <= 0.5 under bankruptcy_fee='taker'"):
        market.margin()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"maintenance_slope": -1}, "maintenance_slope = -1: must be in [0, 1]"),
        ({"initial_slope": "2"}, "initial_slope = '2': must be in [0, 1]"),
        ({"open_interest_floor": 5}, "open_interest_cap = None: must be given with the other, or neither"),
        ({"open_interest_cap": 5}, "open_interest_floor = None: must be given with the other, or neither"),
        ({"open_interest_floor": 5, "open_interest_cap": 5}, "open_interest_cap = 5: must exceed open_interest_floor"),
        ({"open_interest_floor": -5, "open_interest_cap": 5}, "open_interest_floor = -5: must be >= 0"),
    ],
)
def test_instrument_fields_are_checked(fields, message):
    with pytest.raises(cs.InputError, match=re.escape(message)):
        cs.Instrument("X", tick_size=1, lot_size=1, **fields)


@pytest.mark.fast
def test_instruments_with_margin_that_grows_survive_copies():
    instrument = cs.Instrument(
        "X", tick_size=1, lot_size=1, maintenance_slope="0.00005", open_interest_floor=1, open_interest_cap=2
    )
    assert pickle.loads(pickle.dumps(instrument)) == instrument
    assert "maintenance_slope=0.00005" in repr(instrument)


# -- one account of many positions -----------------------------------------------------------------------------


class Portfolio:
    """A cross account with a position (or a long and a short) in each of many instruments, of sizes from tens to
    millions; equity and maintenance at any price, in fractions of what was handed in."""

    FEE = Fraction("0.0006")

    def __init__(self, seed, contract, *, rules, slope=False, hedged=False, n=80):
        rng = np.random.default_rng(seed)
        self.contract, self.rules = contract, rules
        linear = contract == "linear"
        self.legs, self.slopes, self.tables, instruments = [], [], [], []
        for k in range(n):
            price = 10 ** rng.uniform(-2, 5)
            tick = Fraction(10) ** (math.floor(math.log10(price)) - 4)
            lot = Fraction(1, 1000) if linear else Fraction(1)
            mark = round(Fraction(price) / tick) * tick
            worth = 10 ** rng.uniform(1, 6) if linear else 10 ** rng.uniform(-3, 2)
            size = max(1, round(Fraction(worth) * (1 / mark if linear else mark) / lot)) * lot
            rate = Fraction(rng.choice(["0.004", "0.005", "0.01", "0.025"]))
            floors = (0, 50_000, 250_000) if linear else (0, Fraction("0.5"), Fraction("2.5"))
            self.tables.append([(floor, rate * times) for floor, times in zip(floors, (1, 2, 5), strict=True)])
            rows = [(f, c, 1, r) for (f, r), c in zip(self.tables[-1], (*floors[1:], None), strict=True)]
            # A hundredth for ten thousand (or ten coins) of notional.
            self.slopes.append((Fraction(f"{1e-6 * price:.3g}") if linear else Fraction(1, 1000)) * slope)
            instruments.append(
                cs.Instrument(
                    f"I{k}", tick_size=tick, lot_size=lot, contract=contract, tiers=rows, taker_fee=self.FEE,
                    maintenance_slope=self.slopes[-1],
                )
            )  # fmt: skip
            sign = int(rng.choice([-1, 1]))
            other = max(1, size * int(rng.choice([1, 4])) // 2 // lot) * lot
            for lots in (sign * size, -sign * other)[: 1 + hedged]:
                entry = Fraction(repr(round(price * rng.uniform(0.8, 1.2), 9)))
                side = ("long" if lots > 0 else "short") if hedged else "both"
                self.legs.append((k, lots, entry, mark, side))
        total = sum(abs(self.value(size, mark)) for _, size, _, mark, _ in self.legs)
        profit = sum(self.value(size, mark) - self.value(size, entry) for _, size, entry, mark, _ in self.legs)
        self.balance = Fraction(f"{float(total) * rng.uniform(0.05, 0.4) - float(profit):.9f}")
        self.equity = self.balance + profit
        self.whole = sum(self.needed(leg, leg[3]) for leg in self.legs)
        self.market = cs.Market(instruments, rules=cs.VenueRules(**INDEX, **rules))
        self.market.set_prices(index={f"I{k}": mark for k, _, _, mark, _ in self.legs})
        self.market.load_accounts({"account": ["a"], "balance": [str_of(self.balance)]})
        self.market.load_positions(
            {
                "account": ["a"] * len(self.legs), "instrument": [f"I{leg[0]}" for leg in self.legs],
                "size": [str_of(leg[1]) for leg in self.legs], "entry_price": [str_of(leg[2]) for leg in self.legs],
                "position_side": [leg[4] for leg in self.legs],
            }
        )  # fmt: skip

    def value(self, size, price):
        return size * price if self.contract == "linear" else -size / price

    def needed(self, leg, price):
        k, size, entry, _, _ = leg
        notional = abs(self.value(size, entry if self.rules.get("maintenance_on") == "entry" else price))
        amount, before = Fraction(0), None
        for floor, r in self.tables[k]:
            if floor <= notional:
                amount += floor * (r - (before or 0))
                before = rate = r
        rate += min(Fraction(1), self.slopes[k] * (abs(size) if self.contract == "linear" else notional))
        if self.rules.get("maintenance_fee") == "taker":
            rate += self.FEE
        needed = rate * notional - amount
        if self.rules.get("maintenance_fee") == "taker_at_bankruptcy":
            closing = self.balance - self.value(size, entry)
            needed += self.FEE * abs(closing) / (1 + (self.FEE if closing >= 0 else -self.FEE))
        return needed

    def standing(self, instrument, price):
        """(equity, maintenance) with one instrument at another price."""
        equity, needed = self.equity, self.whole
        for leg in self.legs:
            k, size, _, mark, _ = leg
            if k == instrument:
                equity += self.value(size, price) - self.value(size, mark)
                needed += self.needed(leg, price) - self.needed(leg, mark)
        return equity, needed


@pytest.mark.parametrize("hedged", [False, True])
@pytest.mark.parametrize("slope", [False, True])
@pytest.mark.parametrize(
    "rules",
    [{}, ENTRY, {"maintenance_fee": "taker"}, {"maintenance_fee": "taker_at_bankruptcy", "bankruptcy_fee": "taker"}],
)
@pytest.mark.parametrize("contract", ["linear", "inverse"])
def test_eighty_positions_agree_with_substitution(contract, rules, slope, hedged):
    portfolio = Portfolio(5, contract, rules=rules, slope=slope, hedged=hedged)
    prices = portfolio.market.liquidation_prices()
    found = 0
    for k in range(80):
        mine = prices.rows(prices["instrument"] == f"I{k}")
        price = mine["liquidation_price"][0]
        assert np.array_equal(mine["liquidation_price"], np.full(1 + hedged, price), equal_nan=True)
        if np.isnan(price):
            continue
        found += 1
        equity, needed = portfolio.standing(k, Fraction(float(price)))
        assert abs(equity - needed) <= Fraction(1, 10**9) * max(abs(equity), abs(needed))
        # And the price itself: a billionth off, the account is clearly on either side.
        (e0, n0), (e1, n1) = (portfolio.standing(k, Fraction(float(price)) * (1 + d)) for d in (-BILLIONTH, BILLIONTH))
        assert (e0 < n0) != (e1 < n1)
    assert found >= 20


BILLIONTH = Fraction(1, 10**9)
