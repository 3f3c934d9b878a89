"""Published cases of matching, icebergs, stops, self-trade prevention and CME's allocations, on both order
books: the evaluation is the package's own (`cascade validate`)."""

import json
import os
from pathlib import Path

import pytest

from cascade.validation import MODELS
from cascade.validation._inputs import Inputs
from cascade.validation._numbers import agrees, tolerance

SHARED = Path(os.environ.get("CASCADE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
VECTORS = SHARED / "rules" / "vectors.json"
KINDS = ("fifo_match", "iceberg", "stop_order", "stp", "pro_rata_allocation", "lmm_allocation")


def cases():
    if not VECTORS.exists():
        return [pytest.param(None, marks=pytest.mark.skip(f"no {VECTORS}; set CASCADE_SHARED"))]
    vectors = [vector for vector in json.loads(VECTORS.read_text()) if vector["kind"] in KINDS]
    return [pytest.param(vector, id=vector["id"]) for vector in vectors]


@pytest.mark.parametrize("case", cases())
def test_published_case(orderbook, case):
    expected = case["expected"]
    computed = MODELS[case["model"]](Inputs(case["inputs"]), expected, orderbook)
    allowed = tolerance(case["tolerance"], case["id"])
    assert {key: computed[key] for key in expected if not agrees(computed[key], expected[key], allowed)} == {}


def test_self_trade_prevention_of_a_market_order(orderbook):
    """A market order that meets its owner's own order, and nothing else, expires."""
    inputs = {
        "mode": "EXPIRE_MAKER",
        "makers": [
            {"side": "BUY", "qty": "0.5", "price": "1.1"},
            {"side": "BUY", "qty": "0.25", "price": "1"},
        ],
        "taker": {"side": "SELL", "qty": "1", "price": None, "type": "MARKET"},
    }
    computed = MODELS["stp"](Inputs(inputs), {}, orderbook)
    assert computed["maker_status"] == ["EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH"]
    assert (computed["executed"], computed["taker_status"]) == (0, "EXPIRED")


def test_an_iceberg_shows_slice_after_slice(orderbook):
    inputs = {"total": 7, "display": 3, "hits": [2, 4, 5]}
    assert MODELS["iceberg_rest"](Inputs(inputs), {}, orderbook) == {"filled": [2, 4, 1], "slices": 3}
