"""The network of causes of a run as a graph: accounts, edges between them, components, branching ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..result import Result
from ..tables import Table
from ._forest import forest_of, who

LARGEST_MARKER = 300
"""Area of the largest account in a picture, square points."""


@dataclass(frozen=True, eq=False)
class Network:
    """Who pushed whom. n accounts that were liquidated, m edges.

    Attributes
    ----------
    nodes : Table
        node (0 to n - 1, in the order of the accounts' first liquidations), account, margin_mode, instrument
        and position_side (of an isolated position's account), liquidations, notional, shortfall, deficit (as
        in `criticality`), generation (of the first liquidation: 0 where the shock caused it or it was
        unhealthy before), component (0 is the largest, then by first node).
    edges : Table
        source, target (nodes), instrument (whose event made the target unhealthy), weight (notional closed,
        settlement currency), liquidations: one row for each three, in the order of their first liquidation.
    component_sizes : (k,) int64
        Accounts in each weakly connected component, descending. Edges alone connect: that two accounts fell
        to the shock does not.
    branching_ratio : float
        As `Result.branching_ratio`: of the liquidations, the part that others caused; NaN without any.
    branching_error : float
        Its standard error by the number of liquidations, 1 / sqrt(number); NaN without any.
    generations : int
        Length of the longest chain of causes, in liquidations.
    """

    nodes: Table
    edges: Table
    component_sizes: np.ndarray
    branching_ratio: float
    branching_error: float
    generations: int

    @property
    def largest_component(self) -> Table:
        """The nodes of the largest component."""
        return self.nodes.rows(self.nodes["component"] == 0)

    @property
    def edge_index(self) -> np.ndarray:
        """(2, m) int64: sources and targets, as libraries of graph learning take them."""
        return np.vstack([self.edges["source"], self.edges["target"]])

    def to_networkx(self) -> Any:
        """A networkx.MultiDiGraph: nodes 0 to n - 1 and edges with the columns as attributes, an edge's key
        its instrument.

        Raises
        ------
        ModuleNotFoundError
            Without networkx (the `studies` extra).
        """
        try:
            import networkx as nx
        except ModuleNotFoundError as error:
            message = "network.to_networkx needs networkx: pip install 'liquidation-cascade[studies]'"
            raise ModuleNotFoundError(message, name="networkx") from error
        graph = nx.MultiDiGraph()
        names = [c for c in self.nodes.columns if c != "node"]
        columns = [self.nodes[c].tolist() for c in names]
        for k, values in enumerate(zip(*columns, strict=True)):
            graph.add_node(k, **dict(zip(names, values, strict=True)))
        rows = zip(*(self.edges[c].tolist() for c in self.edges.columns), strict=True)
        for source, target, instrument, weight, count in rows:
            graph.add_edge(
                source, target, key=instrument, instrument=instrument, weight=weight, liquidations=count
            )
        return graph

    def plot(self, ax: Any = None) -> Any:
        """Draw accounts by generation, left to right, with an edge from each cause to its effects."""
        from ..plot._look import COLOURS, GREY, axes_of

        ax = axes_of(ax)
        x = self.nodes["generation"]
        y = np.empty(len(x))
        for generation in np.unique(x):
            mine = np.flatnonzero(x == generation)
            y[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
        for source, target in zip(self.edges["source"], self.edges["target"], strict=True):
            ax.plot(x[[source, target]], y[[source, target]], color=GREY, linewidth=0.7, alpha=0.6, zorder=1)
        size = self.nodes["notional"]
        area = LARGEST_MARKER * size / size.max(initial=0) if size.max(initial=0) else np.full(len(x), 20.0)
        ax.scatter(x, y, np.maximum(area, 6), color=COLOURS[0], zorder=2)
        ax.set_xlabel("generation")
        ax.set_yticks([])
        ratio = f"branching ratio {self.branching_ratio:.2f}"
        ax.set_title(f"{len(self.nodes):,} accounts, {ratio}", loc="left")
        return ax


def network(result: Result) -> Network:
    """The causes of a run as a graph.

    Parameters
    ----------
    result : Result
        With record "liquidations" or "all".

    Returns
    -------
    Network

    Raises
    ------
    InputTypeError
        Something that is no Result.
    EngineStateError
        A run that did not record its liquidations.

    Examples
    --------
    >>> import cascade as cs
    >>> graph = cs.studies.network(cs.datasets.constant_depth().run(cs.Shock(orders={"X": -500})))
    >>> round(graph.branching_ratio, 1), graph.edges["liquidations"].sum() == len(graph.edges)
    (0.6, np.True_)
    """
    forest = forest_of(result, "network")
    found, first, label = np.unique(forest.account, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    node, found, first = place[label.ravel()], found[order], first[order]
    n = len(found)
    own = forest.added(node, n)
    caused = np.flatnonzero(forest.parent >= 0)
    keys = np.column_stack([node[forest.parent[caused]], node[caused], forest.moved[caused]])
    edges, begins, of = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    edge_order = np.argsort(begins)
    edges, m = edges[edge_order], len(begins)
    at = np.empty(m, np.int64)
    at[edge_order] = np.arange(m)
    of = at[of.ravel()]
    weight = [0] * m
    for k, quanta in zip(of.tolist(), forest.amounts["notional"][caused].tolist(), strict=True):
        weight[k] += quanta
    component, sizes = _components(n, edges[:, 0].tolist(), edges[:, 1].tolist())
    generation = forest.generation
    nodes = {
        "node": np.arange(n), **who(result, forest, found),
        "liquidations": np.array(own["liquidations"], np.int64),
        **{c: _money(result, own[c]) for c in ("notional", "shortfall", "deficit")},
        "generation": generation[first], "component": component,
    }  # fmt: skip
    table = {
        "source": edges[:, 0], "target": edges[:, 1], "instrument": result._symbols(edges[:, 2]),
        "weight": _money(result, weight), "liquidations": np.bincount(of, minlength=m),
    }  # fmt: skip
    known = int(forest.known.sum())
    ratio = len(caused) / known if known else float("nan")
    return Network(
        Table(nodes), Table(table), sizes, ratio, known**-0.5 if known else float("nan"),
        int(generation.max(initial=-1)) + 1,
    )  # fmt: skip


def _money(result: Result, quanta: list[int]) -> np.ndarray:
    return np.array([result._money(q) for q in quanta], np.float64)


def _components(n: int, sources: list[int], targets: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """((n,) weakly connected component of each node, (k,) sizes): largest first, then by first node."""
    top = list(range(n))

    def root(k: int) -> int:
        while top[k] != k:
            top[k] = top[top[k]]
            k = top[k]
        return k

    for a, b in zip(sources, targets, strict=True):
        a, b = root(a), root(b)
        top[max(a, b)] = min(a, b)
    roots = np.array([root(k) for k in range(n)], np.int64)
    firsts, label, size = np.unique(roots, return_inverse=True, return_counts=True)
    order = np.lexsort((firsts, -size))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place[label.ravel()], size[order].astype(np.int64)
