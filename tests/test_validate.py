"""`cascade validate`: what is evaluated, what is refused, and that answers are a market's own."""

import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import cascade as cs
from cascade._cli import main
from cascade.validation import MODELS, evaluate, read_vectors
from cascade.validation._numbers import agrees, parse, tolerance

SHARED = Path(os.environ.get("CASCADE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
VECTORS = SHARED / "rules" / "vectors.json"
FEE = {
    "id": "fee",
    "venue": "deribit",
    "kind": "liquidation_fee",
    "model": "pct",
    "inputs": {"notional": "1000000", "rate": "0.0075"},
    "expected": {"fee": "7500"},
    "tolerance": "exact",
    "source": "made up",
}


def vector(model, inputs, expected, allowed="exact", name="x"):
    return FEE | {"id": name, "model": model, "inputs": inputs, "expected": expected, "tolerance": allowed}


def verdict(*arguments):
    return evaluate([vector(*arguments)])[0]


def written(tmp_path, *vectors):
    path = tmp_path / "vectors.json"
    path.write_text(json.dumps(list(vectors)))
    return path


# -- the command


def test_all_pass(tmp_path, capsys):
    assert main(["validate", str(written(tmp_path, FEE))]) == 0
    assert capsys.readouterr().out == "1 passed, 0 failed, 0 unknown\n"


def test_failures_are_printed(tmp_path, capsys):
    wrong = FEE | {"id": "wrong", "expected": {"fee": "7501"}}
    path = written(tmp_path, FEE, wrong, FEE | {"id": "new", "model": "later"})
    assert main(["validate", str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "failed  wrong (deribit, pct): fee: expected 7501, computed 7500.0",
        "1 passed, 1 failed, 1 unknown",
    ]


def test_unknown_models_do_not_fail(tmp_path, capsys):
    path = written(tmp_path, FEE | {"model": "later"}, FEE | {"id": "b", "expected": {"rebate": "1"}})
    assert main(["validate", str(path), "--verbose"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "unknown fee (later): no model 'later'",
        "unknown b (pct): pct does not give rebate",
        "0 passed, 0 failed, 2 unknown",
    ]


def test_what_cannot_be_computed_fails_with_its_reason(tmp_path, capsys):
    path = written(
        tmp_path, FEE | {"inputs": {"notional": "1000000"}}, FEE | {"id": "b", "inputs": {"notional": "x"}}
    )
    assert main(["validate", str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "failed  fee (deribit, pct): inputs.rate: missing",
        "failed  b (deribit, pct): inputs.notional = 'x': must be a number or an expression of numbers",
        "0 passed, 2 failed, 0 unknown",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("{}", "must be a list of vectors"),
        ("[7]", r"vectors.json[0] = 7: must be an object"),
        (json.dumps([{**FEE, "id": 7}]), "[0].id = 7: must be a string"),
        (json.dumps([{**FEE, "inputs": []}]), "(fee).inputs = []: must be an object"),
        (json.dumps([{**FEE, "expected": {}}]), "(fee).expected: must not be empty"),
        (json.dumps([FEE, FEE]), "[1] (fee).id: must not stand twice"),
        (json.dumps([{**FEE, "tolerance": "near"}]), "(fee).tolerance = 'near': must be \"exact\""),
        (json.dumps([{**FEE, "tolerance": {"abs": "-1"}}]), "(fee).tolerance = {'abs': '-1'}"),
        (json.dumps([{**FEE, "tolerance": {"abs": "x"}}]), "(fee).tolerance.abs = 'x'"),
        (json.dumps([{k: v for k, v in FEE.items() if k != "tolerance"}]), "(fee).tolerance = null"),
    ],
)
def test_bad_files(tmp_path, capsys, text, said):
    path = tmp_path / "vectors.json"
    path.write_text(text)
    assert main(["validate", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_files_that_are_none(tmp_path, capsys):
    assert main(["validate", str(tmp_path / "none.json")]) == 2
    assert "no such file" in capsys.readouterr().err
    (tmp_path / "bytes.json").write_bytes(b"\xff")
    assert main(["validate", str(tmp_path / "bytes.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    with pytest.raises(cs.InputTypeError, match="must be a path"):
        read_vectors(7)


@pytest.mark.skipif(not VECTORS.exists(), reason=f"no {VECTORS}; set CASCADE_SHARED")
def test_no_published_vector_fails():
    said = evaluate(read_vectors(VECTORS))
    assert [v.lines() for v in said if v.verdict == "failed"] == []
    assert {v.model for v in said if v.verdict == "passed"} <= set(MODELS)
    assert sum(v.verdict == "passed" for v in said) >= 103


# -- numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10*2/5", Fraction(4)),
        ("23000/3", Fraction(23000, 3)),
        ("-1.5", Fraction(-3, 2)),
        (" 1e-3 ", Fraction(1, 1000)),
        ("2*(3-1/2)", Fraction(5)),
        ("1-2-3", Fraction(-4)),
        ("8/2/2", Fraction(2)),
        ("--1", Fraction(1)),
        (".5", Fraction(1, 2)),
        ("10*0.6/5", Fraction(6, 5)),
    ],
)
def test_expressions(text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1+",
        "*2",
        "(1",
        "1)",
        "1 2",
        "x",
        "1/0",
        "2**3",
        "__import__('os')",
        "(" * 99 + "1" + ")" * 99,
        "nan",
    ],
)
def test_no_expressions(text):
    with pytest.raises(cs.InputError):
        parse(text)


def test_what_agrees():
    exact, absolute, relative = ("exact", 0), ("abs", Fraction(1, 2)), ("rel", Fraction(1, 100))
    assert agrees(7, 7, exact)
    assert agrees(7, "7", exact)
    assert not agrees(7, "7.0000000001", exact)  # an integer is equal or it is not
    assert agrees(7.0000000001, "7", exact)  # a solved price is near
    assert not agrees(7.0000001, "7", exact)
    assert agrees(Fraction(1, 3), "1/3", exact)
    assert not agrees(Fraction(33333333333, 10**11), "1/3", exact)
    assert agrees(7.5, "7", absolute)
    assert not agrees(7.51, "7", absolute)
    assert agrees(101, "100", relative)
    assert not agrees(101.1, "100", relative)
    assert agrees(True, True, exact)
    assert not agrees(1, True, exact)
    assert not agrees(True, 1, exact)
    assert agrees(float("nan"), None, exact)
    assert not agrees(0.0, None, exact)
    assert not agrees(float("inf"), "1", relative)
    assert agrees("NEW", "NEW", exact)
    assert not agrees("NEW", "7", exact)
    assert not agrees(7, "NEW", exact)
    assert agrees([1, [2, "a"]], ["1", [2, "a"]], exact)
    assert not agrees([1], [1, 2], exact)
    assert not agrees(1, [1], exact)
    assert agrees({"a": 1}, {"a": "1"}, exact)
    assert not agrees({"a": 1}, {"b": 1}, exact)
    assert tolerance({"rel": "1e-9"}, "x") == ("rel", Fraction(1, 10**9))


# -- answers are those of markets, whatever the numbers


def decimals(rng, low, high, digits):
    return f"{rng.uniform(low, high):.{digits}f}"


def test_isolated_prices_follow_the_closed_form():
    """(E - s (m + d) / q) / (1 - s r), whatever the digits."""
    rng = np.random.default_rng(1)
    for k in range(60):
        price, digits = 10 ** rng.uniform(-6, 6), int(rng.integers(0, 7))
        entry, size = f"{price:.{digits + 4}g}", f"{10 ** rng.uniform(-4, 6):.6g}"
        side, rate = int(rng.choice([-1, 1])), f"{rng.uniform(0.001, 0.2):.5f}"
        E, q, r = Fraction(entry), Fraction(size), Fraction(rate)
        margin = E * q / int(rng.integers(2, 30)) + E * q * r
        amount = E * q / 1000
        expected = (E - side * (margin + amount) / q) / (1 - side * r)
        inputs = {
            "side": side,
            "entry_price": entry,
            "size": size,
            "margin": str(margin),
            "mmr": rate,
            "mm_deduction": str(amount),
        }
        said = verdict("linear_iso_mark_mm", inputs, {"liquidation_price": str(expected)}, "exact", str(k))
        assert said.verdict == ("passed" if expected > 0 else "failed"), said


def test_cross_prices_count_every_other_position():
    """Substituted into balance = maintenance with all other positions at their marks."""
    rng = np.random.default_rng(2)
    for _ in range(10):
        rows = []
        for k in range(int(rng.integers(1, 9))):
            mark = 10 ** rng.uniform(-2, 4)
            rows.append(
                {
                    "sym": f"S{k}",
                    "side": int(rng.choice([-1, 1])),
                    "size": f"{rng.uniform(1, 9):.3f}",
                    "entry": f"{mark * rng.uniform(0.9, 1.1):.5g}",
                    "mark": f"{mark:.5g}",
                    "mmr": f"{rng.uniform(0.004, 0.1):.4f}",
                    "cum": "0",
                }
            )
        value = [Fraction(r["size"]) * Fraction(r["mark"]) for r in rows]
        profit = [
            r["side"] * Fraction(r["size"]) * (Fraction(r["mark"]) - Fraction(r["entry"])) for r in rows
        ]
        balance = sum(value) / 3 - min(0, sum(profit))
        for k, row in enumerate(rows):
            q, s, r, E = Fraction(row["size"]), row["side"], Fraction(row["mmr"]), Fraction(row["entry"])
            others = sum(
                p - v * Fraction(x["mmr"])
                for j, (p, v, x) in enumerate(zip(profit, value, rows, strict=True))
                if j != k
            )
            price = (balance + others - s * q * E) / (q * r - s * q)
            inputs = {"wb": str(balance), "target": k, "positions": rows}
            said = verdict("binance_cross", inputs, {"liquidation_price": str(price)})
            assert price <= 0 or said.verdict == "passed", said
            single = row | {"wb": str(balance), "tmm": "0", "upnl": "0"}
            other_needs = sum(
                v * Fraction(x["mmr"]) for j, (v, x) in enumerate(zip(value, rows, strict=True)) if j != k
            )
            other_gains = sum(p for j, p in enumerate(profit) if j != k)
            single |= {"tmm": str(other_needs), "upnl": str(other_gains)}
            said = verdict("binance_linear", single, {"liquidation_price": str(price)})
            assert price <= 0 or said.verdict == "passed", said


@pytest.mark.parametrize("tmm", ["0", "321.5"])
def test_hedged_legs_share_a_price(tmm):
    legs = [
        {"side": 1, "size": "3", "entry": "30000", "mmr": "0.02", "cum": "700"},
        {"side": -1, "size": "1.5", "entry": "29500", "mmr": "0.01", "cum": "10"},
    ]
    wb, upnl = Fraction(20_000), Fraction("-45.25")
    price = (wb - Fraction(tmm) + upnl + 710 - 3 * 30000 + Fraction("1.5") * 29500) / (
        3 * Fraction("0.02") + Fraction("1.5") * Fraction("0.01") - 3 + Fraction("1.5")
    )
    inputs = {"wb": str(wb), "tmm": tmm, "upnl": str(upnl), "legs": legs}
    assert verdict("binance_hedge", inputs, {"liquidation_price": str(price)}).verdict == "passed"
    mixed = [legs[0] | {"mmr": "0.005"}, legs[1]]
    assert verdict("binance_hedge", inputs | {"legs": mixed}, {"liquidation_price": "1"}).verdict == "unknown"


def test_inverse_prices_follow_the_closed_form():
    rng = np.random.default_rng(3)
    for _ in range(30):
        entry, side = f"{10 ** rng.uniform(1, 5):.2f}", int(rng.choice([-1, 1]))
        contracts, unit, rate = (
            int(rng.integers(1, 10**6)),
            int(rng.choice([1, 10, 100])),
            f"{rng.uniform(0.004, 0.05):.4f}",
        )
        face, E, r = Fraction(contracts * unit), Fraction(entry), Fraction(rate)
        margin = face / E * (r + Fraction(1, int(rng.integers(3, 50))))
        price = face * (r + side) / (margin + side * face / E)
        inputs = {
            "side": side,
            "contracts": str(contracts),
            "multiplier": str(unit),
            "entry": entry,
            "mmr": rate,
            "margin_coin": str(margin),
            "cum_coin": "0",
        }
        assert price > 0
        assert verdict("inverse_iso_mark_mm", inputs, {"liquidation_price": str(price)}).verdict == "passed"
        leave = E * Fraction(11, 10)
        inputs |= {"exit": str(leave), "leverage": "20"}
        expected = {"margin": str(face / E / 20), "pnl": str(side * face * (1 / E - 1 / leave))}
        assert verdict("inverse_pnl", inputs, expected).verdict == "passed"


def test_bankruptcy_prices_round_in_the_accounts_favour():
    for side, exact, rounded in ((1, "5000*20/21", "4762"), (-1, "5000*20/19", "5263")):
        inputs = {"side": side, "entry": "5000", "leverage": "20", "tick": "0.5", "round": "any"}
        assert (
            verdict("inverse_bankruptcy", inputs, {"bankruptcy_price": exact, "rounded": rounded}).verdict
            == "passed"
        )
    inputs = {"side": -1, "entry": "500", "size": "100", "margin": "1000", "extra": "-100"}
    assert verdict("linear_bankruptcy_margin", inputs, {"bankruptcy_price": "509"}).verdict == "passed"


def test_tiers_of_any_table():
    floors, rates = ["0", "1000", "5000", "20000"], ["1/80", "1/60", "1/30", "0.1"]
    amounts = [Fraction(0)]
    for floor, below, rate in zip(floors[1:], rates, rates[1:], strict=False):
        amounts.append(amounts[-1] + Fraction(floor) * (Fraction(rate) - Fraction(below)))
    inputs = {"floors": floors, "rates": rates}
    assert verdict("tier_deductions", inputs, {"deductions": [str(a) for a in amounts]}).verdict == "passed"
    needed = 7000 * Fraction("1/30") - amounts[2]
    inputs |= {"notional": "7000"}
    assert verdict("tier_mm", inputs, {"maintenance_margin": str(needed)}).verdict == "passed"
    step = {"floor": "1000", "rate": "1/60", "prev_rate": "1/80", "prev_deduction": "0"}
    assert verdict("tier_deduction_step", step, {"deduction": str(amounts[1])}).verdict == "passed"
    step = {"floor": "5000", "rate": "1/30", "prev_rate": "1/60", "prev_deduction": str(amounts[1])}
    assert verdict("tier_deduction_step", step, {"deduction": str(amounts[2])}).verdict == "passed"


def test_losses_are_shared_by_profit():
    inputs = {"overloss": "70.5", "fund": "10.5", "profits": ["10", "20", "90"]}
    expected = {"ratio": "1/2", "deductions": ["5", "10", "45"]}
    assert verdict("clawback", inputs, expected).verdict == "passed"


def test_the_fund_gains_or_pays_on_either_side():
    for side, broke, at, sign in (
        (1, "100", "99", -1),
        (1, "100", "101", 1),
        (-1, "100", "99", 1),
        (-1, "100", "101", -1),
    ):
        assert (
            verdict("if_sign", {"side": side, "bankruptcy": broke, "exec": at}, {"sign": sign}).verdict
            == "passed"
        )
    assert verdict("if_sign", {"side": 1, "bankruptcy": "7", "exec": "7"}, {"sign": 0}).verdict == "passed"


def test_ranks_are_the_engines():
    rng = np.random.default_rng(4)
    for inverse in (True, False):
        rows, scores = [], {}
        for k in range(5):
            entry, broke = (Fraction(int(x)) for x in (rng.integers(800, 1200), rng.integers(300, 700)))
            rows.append(
                {
                    "id": f"L{k}",
                    "side": 1,
                    "qty": "1000",
                    "entry": str(entry),
                    "mark": "1000",
                    "bankrupt": str(broke),
                }
            )
            value = [-1000 / x if inverse else 1000 * x for x in (Fraction(1000), entry, broke)]
            gain, leverage = (value[0] - value[1]) / abs(value[1]), abs(value[0]) / (value[0] - value[2])
            scores[f"L{k}"] = gain * leverage if gain > 0 else gain / leverage
        expected = {
            "scores": [str(scores[row["id"]]) for row in rows],
            "order": sorted(scores, key=lambda name: -scores[name]),
        }
        said = verdict("adl_bitmex", {"positions": rows, "inverse": inverse}, expected)
        assert said.verdict == "passed", said
    rows = [
        {"id": "a", "side": 1, "mark": "80", "entry": "64", "notional": "8000", "account_value": "2000"},
        {"id": "b", "side": 1, "mark": "80", "entry": "100", "notional": "800", "account_value": "100"},
    ]
    expected = {"scores": ["5", "6.4"], "order": ["b", "a"]}
    assert verdict("adl_hl", {"positions": rows, "literal": True}, expected).verdict == "passed"


# -- numbers of other magnitudes than the file's
BRACKETS = {
    "floors": ["0", "50000", "250000", "1000000", "10000000", "300000000"],
    "rates": ["0.004", "0.005", "0.01", "0.025", "0.05", "0.5"],
}


@pytest.mark.parametrize("notional", ["0.5", "1000.01", "49999.99", "50000", "250000.5", "300000000", "1e9"])
def test_small_positions_in_tables_that_go_far(notional):
    """Floors of 3e8 beside a position of half a coin."""
    floors, rates = ([Fraction(x) for x in BRACKETS[name]] for name in ("floors", "rates"))
    needed, pairs = Fraction(0), zip(floors, [*floors[1:], None], rates, strict=True)
    for low, high, rate in pairs:  # bracket by bracket: another way than amounts
        top = Fraction(notional) if high is None else min(Fraction(notional), high)
        needed += max(Fraction(0), top - low) * rate
    said = verdict("tier_mm", {"notional": notional, **BRACKETS}, {"maintenance_margin": f"{needed}"})
    assert said.verdict == "passed", said


@pytest.mark.parametrize(
    ("notional", "threshold", "again", "ordered"),
    [
        ("80000", "100000", True, "80000"),
        ("6010.3", "100000", True, "6010.3"),
        ("160000", "100000", True, "160000"),
        ("100000.01", "100000", False, "20000.002"),
        ("100000", "100000", False, "100000"),
    ],
)
def test_what_is_left_of_a_large_position_is_ordered_whole(notional, threshold, again, ordered):
    given = {"notional": notional, "threshold": threshold, "fraction": "0.2", "already_partial": again}
    said = verdict("hl_partial", given, {"order_notional": ordered})
    assert said.verdict == "passed", said


@pytest.mark.parametrize(
    ("notional", "least", "part", "most"),
    [(117074026018, 100, 100000, 11707402601), (7, 3, 500000, 3), (5, 100, 10, 5)],
)
def test_parts_of_a_dydx_position_are_whole_quantums(notional, least, part, most):
    given = {"notional": notional, "min_notional": least, "max_portion_ppm": part}
    wanted = {"min_liquidatable": min(notional, least), "max_liquidatable": most}
    said = verdict("dydx_size", given, wanted)
    assert said.verdict == "passed", said


def test_everybody_is_deleveraged_in_order_whatever_the_size():
    rows = [
        {
            "id": "a",
            "side": -1,
            "mark": "8000",
            "entry": "4560",
            "notional": "504571",
            "account_value": "912371",
        },
        {
            "id": "b",
            "side": -1,
            "mark": "8000",
            "entry": "7680",
            "notional": "597787",
            "account_value": "581431",
        },
        {
            "id": "c",
            "side": -1,
            "mark": "8000",
            "entry": "6000",
            "notional": "986824",
            "account_value": "529337",
        },
    ]
    for literal, order in ((True, ["c", "b", "a"]), (False, ["c", "b", "a"])):
        scores = [
            (Fraction(8000) / Fraction(row["entry"])) ** (1 if literal else -1)
            * Fraction(row["notional"]) / Fraction(row["account_value"])
            for row in rows
        ]  # fmt: skip
        said = verdict(
            "adl_hl",
            {"positions": rows, "literal": literal},
            {"scores": [f"{x}" for x in scores], "order": order},
        )
        assert said.verdict == "passed", said


@pytest.mark.parametrize("side", [1, -1])
def test_binance_ranks(side):
    told = [
        ("a", 100, 1000, 50),
        ("b", 500, 1000, 10),
        ("c", -20, 300, 30),
        ("d", 900, 2000, 100),
        ("e", 30, 50, 3),
    ]
    scores = [
        Fraction(max(0, profit) * needed, wallet * (wallet + profit)) for _, profit, wallet, needed in told
    ]
    rows = [
        {"id": name, "side": side, "upnl": str(profit), "wb": str(wallet), "mm": str(needed)}
        for name, profit, wallet, needed in told
    ]
    wanted = {
        "scores": [f"{x}" for x in scores],
        "order": ["e", "d", "a", "b", "c"],
        "quantiles": ["3/5", "4/5", "1", "2/5", "1/5"],
    }
    said = verdict("adl_binance", {"positions": rows}, wanted)
    assert said.verdict == "passed", said
    rows[0]["mm"] = "0"
    assert verdict("adl_binance", {"positions": rows}, wanted).verdict == "unknown"


def test_contracts_of_very_different_prices_share_an_account():
    rows = [
        {"sym": "A", "side": 1, "size": "1", "entry": "12.7", "mark": "14.605", "mmr": "0.1"},
        {"sym": "B", "side": -1, "size": "276.4", "entry": "0.000254", "mark": "0.00020574", "mmr": "0.005"},
        {
            "sym": "C",
            "side": -1,
            "size": "7.52903",
            "entry": "84866.35518",
            "mark": "89109.672939",
            "mmr": "0.01",
        },
        {
            "sym": "D",
            "side": -1,
            "size": "3142.611",
            "entry": "2250.443215",
            "mark": "2160.4254864",
            "mmr": "0.01",
        },
    ]
    number = [{name: Fraction(row[name]) for name in ("size", "entry", "mark", "mmr")} for row in rows]
    for target, row in enumerate(number):
        left, s = Fraction(447941), rows[target]["side"]
        for k, other in enumerate(number):
            if k != target:
                left += rows[k]["side"] * other["size"] * (other["mark"] - other["entry"])
                left -= other["size"] * other["mark"] * other["mmr"]
        price = (left - s * row["size"] * row["entry"]) / (row["size"] * (row["mmr"] - s))
        given = {"wb": "447941", "target": target, "positions": rows}
        said = verdict("binance_cross", given, {"liquidation_price": f"{price}" if price > 0 else None})
        assert said.verdict == "passed", said


def test_an_inverse_short_that_owns_its_value_has_no_price():
    given = {"side": -1, "contracts": "18236", "multiplier": "100", "entry": "4489.34", "mmr": "0.025"}
    for margin, price in (("406.20670299", None), ("100", "-18236*100*0.975/(100-18236*100/4489.34)")):
        said = verdict("inverse_iso_mark_mm", given | {"margin_coin": margin}, {"liquidation_price": price})
        assert said.verdict == "passed", said


def test_hedged_legs_of_nearly_one_size_keep_their_tiers():
    """The boundary between the tiers is where the maintenance of the table jumps: no price lies in it."""
    legs = [
        {"side": 1, "size": "15.8406", "entry": "3081.16", "mmr": "0.005", "cum": "0"},
        {"side": -1, "size": "16.82906", "entry": "3266.0296", "mmr": "0.01", "cum": "50"},
    ]
    price = "(20754.33+50-15.8406*3081.16+16.82906*3266.0296)/(15.8406*0.005+16.82906*0.01-15.8406+16.82906)"
    given = {"wb": "20754.33", "tmm": "0", "upnl": "0", "legs": legs}
    said = verdict("binance_hedge", given, {"liquidation_price": price})
    assert said.verdict == "passed", said
