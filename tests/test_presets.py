"""Every preset and every other reading of it, on random markets: both engines agree, no quantum is lost."""

import pytest
import random_markets

import cascade as cs

VENUES = {
    name: getattr(cs.venues, name)
    for name in cs.venues.__all__
    if isinstance(getattr(cs.venues, name), cs.Venue)
}
READINGS = {
    f"{name}{'' if reading is None else ': ' + reading}": venue.rules if reading is None else rules
    for name, venue in VENUES.items()
    for reading, rules in [(None, venue.rules), *venue.variants.items()]
}
MARKETS = 40
LATER_NS = (1, 10**9, 30 * 10**9, 60 * 10**9)


def markets(first, count):
    """(seed, market, shock) of random markets; what their own rules were does not matter."""
    for seed in range(first, first + count):
        market, shock, _ = random_markets.make(seed)
        yield seed, market, shock


@pytest.mark.parametrize("name", READINGS)
def test_both_engines_agree_and_nothing_is_lost(name):
    rules, ran, liquidated = READINGS[name], 0, 0
    plain = name in VENUES
    for seed, market, shock in markets(7_000, MARKETS if plain else MARKETS // 4):
        try:
            core = market.run(shock, rules=rules, audit="full")
        except cs.CascadeError as error:  # refused by both, for the same reason
            with pytest.raises(type(error)):
                market.run(shock, rules=rules, audit="full", engine="reference")
            continue
        reference = market.run(shock, rules=rules, audit="full", engine="reference")
        assert core.digest == reference.digest, f"seed {seed}"
        assert core.audit["conserved"], f"seed {seed}"
        ran += 1
        liquidated += core.summary["liquidated_accounts"]
    assert ran > (MARKETS if plain else MARKETS // 4) / 2
    assert liquidated > 0


@pytest.mark.parametrize("name", VENUES)
def test_time_passes_alike(name):
    """Rests, cooldowns and averages: step by step, with time in between, in both engines."""
    venue = VENUES[name]
    for seed, market, shock in markets(7_100, 8):
        try:
            twins = [market.start(shock, rules=venue, engine=engine) for engine in ("core", "reference")]
        except cs.CascadeError:
            continue
        for dt in LATER_NS:
            for twin in twins:
                twin.settle()
                twin.advance_ns(dt)
        results = []
        for twin in twins:
            twin.settle()
            results.append(twin.result())
        assert results[0].digest == results[1].digest, f"seed {seed}"
        assert results[0].audit["conserved"], f"seed {seed}"


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.fast
def test_a_preset_says_where_it_comes_from(name):
    venue = VENUES[name]
    assert venue.sources
    assert venue.notes
    assert venue.date
    for rules in venue.variants.values():
        assert rules != venue.rules
