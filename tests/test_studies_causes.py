"""Criticality and networks of runs: against a tree of causes drawn by hand, and sums taken the slow way."""

import sys

import numpy as np
import pytest
from test_causes import coupled

import cascade as cs
from cascade.causes import through

PRICES = {"X": 1_000, "Y": 500, "Z": 100}


def tree(symbols="XY"):
    """A sale of one X brings X to 999. A sells 2 X down to 997, which takes C and B. C, whose account comes
    first, sells an X at 996 and three Y down to 497, B an X at 995. 996 takes D, 497 takes E.

        shock - A - C - D  (through X)
                |    `- E  (through Y)
                 `- B
    """
    market = cs.Market(
        [cs.Instrument(s, tick_size=1, lot_size=1) for s in symbols], rules=cs.VenueRules(size="all")
    )
    prices = {symbol: PRICES[symbol] for symbol in symbols}
    for symbol, price in prices.items():
        bids = {"price": price - 1 - np.arange(20), "quantity": np.ones(20)}
        market.load_book(symbol, bids, {"price": [price + 1], "quantity": [9]}, complete=True)
    market.set_prices(last=prices, index=prices)
    market.load_accounts({"account": ["C"], "balance": [5]})
    market.load_positions(
        {
            "account": ["A", "B", "D", "E"], "instrument": ["X", "X", "X", "Y"], "size": [2, 1, 1, 1],
            "entry_price": [999.5, 997.5, 996.5, 498.5], "margin": [0, 0, 0, 0],
        }
    )  # fmt: skip
    market.load_positions(
        {"account": ["C", "C"], "instrument": ["X", "Y"], "size": [1, 3], "entry_price": [1_002.5, 500]}
    )
    return market


SALE = cs.Shock(orders={"X": -1})


def by_name(table, column, key="account"):
    return dict(zip(table[key].tolist(), table[column].tolist(), strict=True))


@pytest.mark.fast
@pytest.mark.parametrize("engine", ["core", "reference"])
def test_what_stands_below_each_account_of_a_tree(engine):
    found = cs.studies.criticality(tree().run(SALE, engine=engine)).accounts
    assert found["account"].tolist() == ["A", "C", "B", "D", "E"]
    assert found["margin_mode"].tolist() == ["isolated", "cross", "isolated", "isolated", "isolated"]
    assert found["instrument"].tolist() == ["X", "", "X", "X", "Y"]
    assert by_name(found, "liquidations") == {"A": 1, "B": 1, "C": 2, "D": 1, "E": 1}
    # A: 998 + 997. C: 996, 499 + 498 + 497. B: 995. D: 994. E: 496.
    assert by_name(found, "notional") == {"A": 1_995, "B": 995, "C": 2_490, "D": 994, "E": 496}
    # Bought for 1,999; 997.5; 1,002.5 + 1,500 with a balance of 5; 996.5; 498.5.
    assert by_name(found, "deficit") == {"A": 4, "B": 2.5, "C": 7.5, "D": 2.5, "E": 2.5}
    assert by_name(found, "shortfall") == by_name(found, "deficit")
    assert by_name(found, "direct_liquidations") == {"A": 3, "B": 0, "C": 2, "D": 0, "E": 0}
    assert by_name(found, "direct_notional") == {"A": 3_485, "B": 0, "C": 1_490, "D": 0, "E": 0}
    assert by_name(found, "downstream_liquidations") == {"A": 5, "B": 0, "C": 2, "D": 0, "E": 0}
    assert by_name(found, "downstream_notional") == {"A": 4_975, "B": 0, "C": 1_490, "D": 0, "E": 0}
    assert by_name(found, "downstream_deficit") == {"A": 15, "B": 0, "C": 5, "D": 0, "E": 0}
    assert by_name(found, "share")["A"] == pytest.approx(4_975 / 6_970)


@pytest.mark.fast
def test_what_each_instrument_brought_about_in_a_tree():
    """Without the moves of X only A would have gone; without those of Y all but E."""
    found = cs.studies.criticality(tree().run(SALE), by="deficit").instruments
    assert found["instrument"].tolist() == ["X", "Y"]
    assert found["notional"].tolist() == [4_980, 1_990]
    assert found["direct_liquidations"].tolist() == [4, 1]
    assert found["direct_notional"].tolist() == [4_479, 496]
    assert found["downstream_liquidations"].tolist() == [5, 1]
    assert found["downstream_notional"].tolist() == [4_975, 496]
    assert found["downstream_deficit"].tolist() == [15, 2.5]


@pytest.mark.fast
def test_the_graph_of_a_tree():
    result = tree().run(SALE, record="liquidations")
    graph = cs.studies.network(result)
    assert graph.nodes["account"].tolist() == ["A", "C", "B", "D", "E"]
    assert graph.nodes["generation"].tolist() == [0, 1, 1, 2, 2]
    assert graph.edge_index.tolist() == [[0, 0, 1, 1], [1, 2, 3, 4]]
    assert graph.edges["instrument"].tolist() == ["X", "X", "X", "Y"]
    assert graph.edges["weight"].tolist() == [2_490, 995, 994, 496]
    assert graph.edges["liquidations"].tolist() == [2, 1, 1, 1]
    assert graph.component_sizes.tolist() == [5]
    assert len(graph.largest_component) == 5
    assert graph.generations == 3
    assert graph.branching_ratio == 5 / 6
    assert graph.branching_error == pytest.approx(6**-0.5)
    with pytest.warns(RuntimeWarning):
        assert graph.branching_ratio == result.branching_ratio()


@pytest.mark.fast
def test_components_are_counted_apart():
    """An account that the shock takes in a book of its own."""
    market = tree("XYZ")
    market.load_positions(
        {"account": ["F"], "instrument": ["Z"], "size": [1], "entry_price": [99.5], "margin": [0]}
    )
    graph = cs.studies.network(market.run(SALE + cs.Shock(orders={"Z": -1})))
    assert graph.component_sizes.tolist() == [5, 1]
    assert set(graph.largest_component["account"]) == {"A", "B", "C", "D", "E"}
    assert by_name(graph.nodes, "component")["F"] == 1
    assert by_name(graph.nodes, "generation")["F"] == 0


def test_a_graph_for_networkx():
    nx = pytest.importorskip("networkx")
    found = cs.studies.network(tree().run(SALE)).to_networkx()
    names = nx.get_node_attributes(found, "account")
    assert {(names[a], names[b], key) for a, b, key in found.edges(keys=True)} == {
        ("A", "C", "X"), ("A", "B", "X"), ("C", "D", "X"), ("C", "E", "Y"),
    }  # fmt: skip
    assert nx.is_arborescence(nx.DiGraph(found))
    assert found.edges[0, 1, "X"]["weight"] == 2_490


@pytest.mark.fast
def test_without_networkx_the_extra_is_named(monkeypatch):
    graph = cs.studies.network(tree().run(SALE))
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ModuleNotFoundError, match=r"liquidation-cascade\[studies\]"):
        graph.to_networkx()


@pytest.mark.fast
def test_a_run_without_liquidations_has_an_empty_graph():
    result = tree().run(cs.Shock())
    graph, ranked = cs.studies.network(result), cs.studies.criticality(result)
    assert len(graph.nodes) == len(graph.edges) == len(graph.component_sizes) == graph.generations == 0
    assert np.isnan(graph.branching_ratio)
    assert len(ranked.accounts) == 0
    assert ranked.instruments["downstream_notional"].tolist() == [0, 0]


def slow_sums(result):
    """(downstream notional by account index, by instrument index) in quanta, each liquidation walked up to
    its root."""
    x = result._data.liquidations
    moved = through(result._data, x)
    accounts, instruments = dict.fromkeys(x["account"].tolist(), 0), [0] * len(result._state.instruments)
    for k in range(len(x)):
        above, movers, row = set(), set(), k
        while (cause := int(x["cause_row"][row])) >= 0:
            assert cause < row
            above.add(int(x["account"][cause]))
            movers.add(int(moved[row]))
            row = cause
        for account in above - {int(x["account"][k])}:
            accounts[account] += abs(int(x["closed_value"][k]))
        for i in movers:
            instruments[i] += abs(int(x["closed_value"][k]))
    return accounts, instruments


@pytest.mark.parametrize("clearing", ["wave", "continuous"])
@pytest.mark.parametrize(("step", "accounts"), [(0.5, 300), (0.26, 100)])
def test_sums_are_those_of_walking_up_every_cause(clearing, step, accounts):
    """Accounts with three positions, that move three books."""
    market, rules = coupled(step, accounts), cs.VenueRules(size="all", clearing=clearing)
    result = market.run(cs.Shock(orders={"X": -500}), rules=rules, record="liquidations")
    assert (result._data.liquidations["cause_row"] >= 0).sum() > 50
    by_account, by_instrument = slow_sums(result)
    ranked = cs.studies.criticality(result)
    assert ranked.accounts["downstream_notional"].tolist() == sorted(
        map(result._money, by_account.values()), reverse=True
    )
    assert ranked.instruments["downstream_notional"].tolist() == sorted(
        map(result._money, by_instrument), reverse=True
    )
    graph = cs.studies.network(result)
    assert graph.edges["weight"].sum() == pytest.approx(result.network()["weight"].sum())
    assert graph.branching_ratio == result.branching_ratio()
    assert graph.component_sizes.sum() == len(graph.nodes) == len(by_account)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda r: cs.studies.criticality(r, by="luck"), cs.InputError, "criticality.by = 'luck'"),
        (lambda r: cs.studies.criticality(5), cs.InputTypeError, "criticality.result = 5"),
        (lambda r: cs.studies.network("run"), cs.InputTypeError, "network.result = 'run'"),
        (lambda r: cs.studies.network(tree().run(record="summary")), cs.EngineStateError, "record="),
    ],
)
@pytest.mark.fast
def test_bad_questions_about_causes(call, error, words):
    with pytest.raises(error, match=words.replace(".", r"\.")):
        call(tree().run(SALE))


def test_studies_of_causes_draw_themselves():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    plt = pytest.importorskip("matplotlib.pyplot")
    result = tree().run(SALE)
    for study in (cs.studies.criticality, cs.studies.network):
        figure, ax = plt.subplots()
        assert study(result).plot(ax=ax) is ax
        assert ax.patches or ax.collections
        plt.close(figure)
