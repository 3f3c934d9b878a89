"""The Ready and ResultParts classes: what is before and after an engine's work in a small run. Included by _core.pyx."""

from cascade.shocks import Shock


@cython.final
cdef class Ready:
    """Rules found to fit a market's state: what a run under them needs, and the engines that wait for one.

    `given` is what the caller gave for them; it is kept alive. `kind` is the class of results.
    """

    cdef object kind, names, token, given
    cdef readonly object state, rules
    cdef readonly list idle

    def __init__(self, kind, names, state, given, rules, list idle not None):
        self.kind = kind
        self.names = names
        self.state = state
        self.token = state.token
        self.given = given
        self.rules = rules
        self.idle = idle

    def run(self, shock, engine, record, audit, max_waves):
        """`Market.run` of a shock that has been found to fit before, if an engine waits for it; else None, as for any other argument. Here
        because Python takes more time than a small run."""
        cdef Engine waiting
        cdef Outcome data
        cdef object made
        if type(shock) is not Shock or type(engine) is not str or type(record) is not str or type(audit) is not str:
            return None
        made = shock._made
        if type(made) is not tuple or (<tuple>made)[0] is not self.token or (<tuple>made)[2] is not self.rules:
            return None
        if max_waves is not None or <str>engine != "core" or not (<str>audit == "delta" or <str>audit == "full"):
            return None
        if not (<str>record == "summary" or <str>record == "liquidations" or <str>record == "all"):
            return None
        try:
            waiting = <Engine>self.idle.pop()
        except IndexError:
            return None
        waiting.start(self.idle, record, audit, None)
        try:
            data = waiting.whole((<tuple>made)[1])
        finally:
            waiting.put_back()
        return self.kind(self.names, self.state, data, self.rules, shock, record)


cdef class ResultParts:
    """What a `Result` is made from, given once. Here because setting them in Python takes much of a small run's time."""

    cdef readonly object _market, _state, _data, _rules, _shock
    cdef readonly str _record

    def __init__(self, market, state, data, rules, shock, str record):
        self._market = market
        self._state = state
        self._data = data
        self._rules = rules
        self._shock = shock
        self._record = record

    def __reduce__(self):
        return type(self), (self._market, self._state, self._data, self._rules, self._shock, self._record)
