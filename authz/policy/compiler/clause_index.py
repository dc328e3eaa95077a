"""The clauses of each rule, by what their heads can take: a call tries those alone that can match its arguments.

    may(u: User, "view", d: Doc), may(u: User, "view", t: Team);   may(p, "view", x) with x a Team   →   the second

A policy of many types has a clause of the same rule for each of them; without the index each call would try them all.
"""

from collections.abc import Mapping, Sequence

from authz.policy.compiler.ir import Const, Path, RowVariable
from authz.policy.compiler.nodes import Literal, Param, Rule
from authz.policy.compiler.state import Value


class ClauseIndex:
    """The clauses of a policy; `groups` are the unions of types that blocks make."""

    def __init__(self, rules: Mapping[tuple[str, int], Sequence[Rule]], groups: Mapping[str, frozenset[str]]) -> None:
        self._rules = rules
        self._groups = groups
        self._fitting: dict[tuple[str, int, int, object], Sequence[Rule]] = {}

    def candidates(self, name: str, args: Sequence[Value]) -> Sequence[Rule]:
        """Return the clauses that may match, in the policy's order: those that fit the most telling argument."""
        fewest = self._rules.get((name, len(args)), ())
        for position, value in enumerate(args):
            key = _key(value)
            if key is not None and len(fewest) > 1:
                fewest = min(fewest, self._by_argument(name, len(args), position, key), key=len)
        return fewest

    def _by_argument(self, name: str, arity: int, position: int, key: object) -> Sequence[Rule]:
        """Return the clauses whose parameter at a position takes an argument."""
        at = (name, arity, position, key)
        if at not in self._fitting:
            clauses = self._rules.get((name, arity), ())
            self._fitting[at] = [clause for clause in clauses if self._takes(clause.params[position], key)]
        return self._fitting[at]

    def _takes(self, param: Param, key: object) -> bool:
        if isinstance(param.term, Literal):
            return not isinstance(key, str) and key == _literal_key(param.term.value)
        if param.type is None or not isinstance(key, str):
            return True
        return key == param.type or key in self._groups.get(param.type, ())


def _key(value: Value) -> object:
    """Return what tells which clauses an argument matches: the type of a row, or a literal; None if nothing does."""
    if isinstance(value, RowVariable | Path):
        return value.type
    return _literal_key(value.value) if isinstance(value, Const) and value.value is not None else None


def _literal_key(value: object) -> tuple[bool, object]:
    """Return a key that is equal for literals that are equal in Polar: 1 and 1.0 are, 1 and true are not."""
    return isinstance(value, bool), value
