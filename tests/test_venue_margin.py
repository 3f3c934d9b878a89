# ruff: noqa: E501 - one case a line reads best

"""Liquidation and bankruptcy prices, maintenance and initial margin as venues publish them, through the public API.

The worked examples lie beside the checkout (`../shared`, or `CASCADE_SHARED`); a few of them stand here literally.
"""

from __future__ import annotations

import json
import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

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
