"""Published examples of venues' rules, evaluated: build what the example describes, read what it says.

A vector is an object with id, venue, kind, model, inputs, expected, tolerance and source. Its model names a
handler, which builds a `Market`, an `OrderBook`, a `VenueRules` or a `Venue` from the inputs and reads the
answer off it - formulas are those of `cs.venues`. `cascade validate vectors.json` prints what does not come
out.

>>> import cascade as cs
>>> from cascade.validation import evaluate
>>> vector = {"id": "x", "venue": "deribit", "kind": "liquidation_fee", "model": "pct",
...           "inputs": {"notional": "1000000", "rate": "0.0075"}, "expected": {"fee": "7500"},
...           "tolerance": "exact", "source": "mine"}
>>> evaluate([vector])[0].verdict
'passed'
"""

from ._run import MODELS, Verdict, evaluate, read_vectors

__all__ = ["MODELS", "Verdict", "evaluate", "read_vectors"]
