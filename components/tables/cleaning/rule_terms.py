"""Terms of a rule: from the nodes of its syntax tree to polars; what is not listed is refused."""

import ast
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import reduce
from typing import Literal

import polars as pl

from components.tables.schema import ColumnKind, prepared_name

TermKind = Literal["number", "text", "boolean", "date", "null"]

TERM_OF: dict[ColumnKind, TermKind] = {
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "date": "date",
    "datetime": "date",
    "category": "text",
    "text": "text",
    "identifier": "text",
}

_RELATIVE_TOLERANCE = 1e-9
_MICROSECONDS_PER_DAY = 86_400_000_000


class RuleError(ValueError):
    """A rule cannot be read; says why and where."""


@dataclass(frozen=True)
class Term:
    """A part of a rule as an expression, and what it gives."""

    expr: pl.Expr
    kind: TermKind
    text: str | None = None
    """A string written in the rule: a date where it is compared with one."""


class RuleCompiler:
    """From the nodes of a rule to polars expressions; whatever is not named here is refused."""

    def __init__(
        self, text: str, kinds: Mapping[str, ColumnKind], names: Mapping[str, str], tolerance: float
    ) -> None:
        self.text = text
        self.kinds = kinds
        self.names = names
        self.tolerance = tolerance
        self.given: dict[str, pl.Expr] = {}
        """Columns that have a value of their own while an equation is solved."""

    def term(self, node: ast.expr) -> Term:
        """The expression of a node; raises RuleError where the language has none."""
        match node:
            case ast.Name():
                return self._column(node)
            case ast.Constant():
                return self._constant(node)
            case ast.BinOp():
                return self._arithmetic(node)
            case ast.UnaryOp():
                return self._unary(node)
            case ast.BoolOp():
                return self._logic(node)
            case ast.Compare():
                return self._comparison(node)
            case ast.Call():
                return self._call(node)
        raise self._error(f"{ast.unparse(node)!r} is no part of the language of rules")

    def column_name(self, node: ast.Name) -> str:
        """The column that a name means."""
        name = prepared_name(self.names.get(node.id, node.id))
        if name not in self.kinds:
            near = difflib.get_close_matches(name, self.kinds, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(self.kinds)}"
            raise self._error(f"{name!r} is no column; {hint}")
        return name

    def columns_in(self, tree: ast.expr) -> tuple[str, ...]:
        """Columns that occur, in their order."""
        functions = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        nodes = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Name) and id(node) not in functions
        ]
        nodes.sort(key=lambda node: (node.lineno, node.col_offset))
        return tuple(dict.fromkeys(self.column_name(node) for node in nodes))

    def _error(self, problem: str) -> RuleError:
        return RuleError(f"rule {self.text!r}: {problem}")

    def _column(self, node: ast.Name) -> Term:
        name = self.column_name(node)
        kind = TERM_OF[self.kinds[name]]
        expr = self.given.get(name, pl.col(name))
        if kind == "number":
            return Term(expr.cast(pl.Float64), kind)
        return Term(expr.cast(pl.Datetime("us")) if kind == "date" else expr, kind)

    def _constant(self, node: ast.Constant) -> Term:
        value = node.value
        if value is None:
            return Term(pl.lit(None), "null")
        if isinstance(value, bool):
            return Term(pl.lit(value), "boolean")
        if isinstance(value, int | float):
            try:
                return Term(pl.lit(float(value)), "number")
            except OverflowError:
                raise self._error(f"the number {str(value)[:20]}... is too large") from None
        if isinstance(value, str):
            return Term(pl.lit(value), "text", value)
        raise self._error(f"{value!r} is neither number nor text")

    def _number(self, node: ast.expr, use: str) -> pl.Expr:
        term = self.term(node)
        if term.kind != "number":
            raise self._error(f"{self._source(node)} is a {term.kind}; {use} needs a number")
        return term.expr

    def _source(self, node: ast.expr) -> str:
        return reduce(
            lambda text, name: text.replace(name[0], name[1]),
            self.names.items(),
            ast.unparse(node),
        )

    def _arithmetic(self, node: ast.BinOp) -> Term:
        if isinstance(node.op, ast.Sub):
            left, right = self._dated(self.term(node.left), self.term(node.right))
            if left.kind == right.kind == "date":
                span = (left.expr - right.expr).dt.total_microseconds()
                return Term(span.cast(pl.Float64) / _MICROSECONDS_PER_DAY, "number")
        operate = _OPERATORS.get(type(node.op))
        if operate is None:
            raise self._error(f"{self._source(node)!r}: use + - * / // % or **")
        use = "arithmetic"
        return Term(operate(self._number(node.left, use), self._number(node.right, use)), "number")

    def _unary(self, node: ast.UnaryOp) -> Term:
        if isinstance(node.op, ast.Not):
            return Term(~self._truth(node.operand), "boolean")
        if isinstance(node.op, ast.USub | ast.UAdd):
            value = self._number(node.operand, "a sign")
            return Term(-value if isinstance(node.op, ast.USub) else value, "number")
        raise self._error(f"{self._source(node)!r} is no part of the language of rules")

    def _truth(self, node: ast.expr) -> pl.Expr:
        term = self.term(node)
        if term.kind != "boolean":
            raise self._error(f"{self._source(node)} is a {term.kind}, neither true nor false")
        return term.expr

    def _logic(self, node: ast.BoolOp) -> Term:
        terms = [self._truth(value) for value in node.values]
        is_and = isinstance(node.op, ast.And)
        joined = reduce(lambda a, b: (a & b) if is_and else (a | b), terms)
        return Term(joined, "boolean")

    def _comparison(self, node: ast.Compare) -> Term:
        sides = [node.left, *node.comparators]
        parts = [
            self._compared(left, operator, right)
            for left, operator, right in zip(sides, node.ops, sides[1:], strict=False)
        ]
        return Term(reduce(lambda a, b: a & b, parts), "boolean")

    def _compared(self, left: ast.expr, operator: ast.cmpop, right: ast.expr) -> pl.Expr:
        if isinstance(operator, ast.In | ast.NotIn):
            found = self._membership(left, right)
            return found if isinstance(operator, ast.In) else ~found
        first, second = self._dated(self.term(left), self.term(right))
        is_equality = isinstance(operator, ast.Eq | ast.NotEq | ast.Is | ast.IsNot)
        is_negated = isinstance(operator, ast.NotEq | ast.IsNot)
        if "null" in (first.kind, second.kind) and is_equality:
            known = first if second.kind == "null" else second
            return known.expr.is_not_null() if is_negated else known.expr.is_null()
        if isinstance(operator, ast.Is | ast.IsNot):
            raise self._error(f"`is` is for None only; use == in {self._source(left)!r} ...")
        if first.kind != second.kind:
            sides = f"{self._source(left)} is a {first.kind}, {self._source(right)} a {second.kind}"
            raise self._error(f"{sides}; they cannot be compared")
        is_equal = self._is_equal(first, second)
        if is_equality:
            return ~is_equal if is_negated else is_equal
        a, b = first.expr, second.expr
        match operator:
            case ast.Lt():
                return a < b
            case ast.LtE():
                return (a <= b) | is_equal
            case ast.Gt():
                return a > b
        return (a >= b) | is_equal

    def _is_equal(self, first: Term, second: Term) -> pl.Expr:
        a, b = first.expr, second.expr
        if first.kind != "number":
            return a == b
        larger = pl.max_horizontal(a.abs(), b.abs())
        return (a - b).abs() <= self.tolerance * (1 + 1e-6) + _RELATIVE_TOLERANCE * larger

    def _membership(self, left: ast.expr, right: ast.expr) -> pl.Expr:
        if not isinstance(right, ast.List | ast.Tuple | ast.Set) or not right.elts:
            raise self._error("after `in` stands a list, as in `state in ['open', 'closed']`")
        parts = [self._compared(left, ast.Eq(), element) for element in right.elts]
        return reduce(lambda a, b: a | b, parts)

    def _dated(self, first: Term, second: Term) -> tuple[Term, Term]:
        """A text beside a date is a date."""
        if first.kind == "date" and second.text is not None:
            return first, self._date(second.text)
        if second.kind == "date" and first.text is not None:
            return self._date(first.text), second
        return first, second

    def _date(self, text: str) -> Term:
        try:
            moment = datetime.fromisoformat(text).replace(tzinfo=None)
        except ValueError:
            example = date(2024, 1, 31).isoformat()
            raise self._error(f"{text!r} is no date; write it as {example!r}") from None
        return Term(pl.lit(moment).cast(pl.Datetime("us")), "date")

    def _call(self, node: ast.Call) -> Term:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        known = {"abs": 1, "len": 1, "year": 1, "month": 1, "day": 1, "min": 2, "max": 2}
        if name not in known or node.keywords:
            raise self._error(f"{name!r} is no function; functions are {', '.join(known)}")
        count = len(node.args)
        if (count != 1) if known[name] == 1 else (count < 2):
            needs = "one value" if known[name] == 1 else "at least two values"
            raise self._error(f"{name} takes {needs}, not {count}")
        if name in ("min", "max"):
            return self._extreme(name, node.args)
        if name == "abs":
            return Term(self._number(node.args[0], "abs").abs(), "number")
        term = self.term(node.args[0])
        needed = "text" if name == "len" else "date"
        if term.kind != needed:
            raise self._error(f"{name} needs a {needed}; {self._source(node.args[0])} is none")
        if name == "len":
            return Term(term.expr.str.len_chars().cast(pl.Float64), "number")
        parts = {"year": term.expr.dt.year, "month": term.expr.dt.month, "day": term.expr.dt.day}
        return Term(parts[name]().cast(pl.Float64), "number")

    def _extreme(self, name: str, nodes: list[ast.expr]) -> Term:
        values = [self._number(node, name) for node in nodes]
        extreme = pl.max_horizontal(values) if name == "max" else pl.min_horizontal(values)
        # Polars leaves missing values out; here they leave the result open.
        known = pl.all_horizontal(value.is_not_null() for value in values)
        return Term(pl.when(known).then(extreme), "number")


def quotient(a: pl.Expr, b: pl.Expr) -> pl.Expr:
    """Nothing divides by zero: the rule is left open there."""
    return pl.when(b != 0.0).then(a / b)


_OPERATORS: dict[type[ast.operator], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: quotient,
    ast.FloorDiv: lambda a, b: quotient(a, b).floor(),
    ast.Mod: lambda a, b: a - b * quotient(a, b).floor(),
    ast.Pow: lambda a, b: a.pow(b),
}
