"""Rules between columns: `total == fare + tip + tolls`, read without eval, judged by polars."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from components.tables.cleaning.rule_terms import TERM_OF, RuleCompiler, RuleError, quotient
from components.tables.schema import ColumnKind

_LONGEST_RULE = 2000
_QUOTED = re.compile(r"`([^`]*)`")
_STRINGS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


@dataclass(frozen=True)
class Rule:
    """A rule that was read.

    Attributes:
        text: As it stands in the recipe.
        columns: Columns that it speaks of, in the order in which they occur.
        holds: Boolean expression on a typed frame; null where a missing value leaves it open.
        solutions: For a rule `left == right` of numbers, and each column in which it is linear:
            the value of that column that makes it true (Float64; null where there is none).
    """

    text: str
    columns: tuple[str, ...]
    holds: pl.Expr
    solutions: Mapping[str, pl.Expr] = field(default_factory=dict)


def parse_rule(text: str, kinds: Mapping[str, ColumnKind], tolerance: float = 0.0) -> Rule:
    """Read a rule.

    The language: columns by name (in backticks where the name is no plain word: `` `Mass (g)` ``),
    numbers, "texts", dates as "2024-01-31" beside a date column, True and False; `+ - * / // % **`,
    `== != < <= > >=` (chained, as `0 <= x < 10`), `in [..]`, `is None`, `and or not`; the functions
    abs, min, max, len, year, month, day. The difference of two dates is in days.

    Two numbers are equal if they differ by no more than `tolerance` + 1e-9 of the larger one. A
    missing value leaves open what it decides; a rule left open counts as kept.

    Args:
        text: The rule.
        kinds: Kind of each column.
        tolerance: Largest difference of equal numbers; also for `<=` and `>=`.

    Raises:
        RuleError: The rule is no rule.
    """
    tree, names = _syntax_tree(text)
    compiler = RuleCompiler(text, kinds, names, tolerance)
    try:
        term = compiler.term(tree)
    except RecursionError:
        raise RuleError(f"rule {text[:60]!r}... is nested too deeply") from None
    if term.kind != "boolean" or not _compares(tree):
        raise RuleError(f"rule {text!r} compares nothing; write it as `total == fare + tip`")
    columns = compiler.columns_in(tree)
    if not columns:
        raise RuleError(f"rule {text!r} names no column; columns are {', '.join(kinds)}")
    return Rule(text, columns, term.expr, _solutions(tree, compiler, columns))


def _syntax_tree(text: str) -> tuple[ast.expr, dict[str, str]]:
    """The parsed rule, and what stands for the names in backticks."""
    if len(text) > _LONGEST_RULE:
        raise RuleError(f"rule {text[:60]!r}... has {len(text)} characters, limit {_LONGEST_RULE}")
    names: dict[str, str] = {}

    def stand_in(match: re.Match[str]) -> str:
        name = f"_column_{len(names)}_"
        names[name] = match.group(1)
        return name

    # Backticks inside of texts stay as they are.
    parts, start = [], 0
    for string in _STRINGS.finditer(text):
        if text.count("`", 0, string.start()) % 2:
            continue
        parts += [_QUOTED.sub(stand_in, text[start : string.start()]), string.group()]
        start = string.end()
    plain = "".join([*parts, _QUOTED.sub(stand_in, text[start:])]).strip()
    try:
        return ast.parse(plain, mode="eval").body, names
    except SyntaxError as error:
        place = f" near {plain[max(0, (error.offset or 1) - 1) :][:20]!r}"
        hint = "; equality is ==" if error.msg and "==" in error.msg else ""
        raise RuleError(f"rule {text!r} cannot be read{place}: {error.msg}{hint}") from None
    except (ValueError, MemoryError, RecursionError) as error:
        raise RuleError(f"rule {text!r} cannot be read: {error}") from None


def _compares(tree: ast.expr) -> bool:
    return any(isinstance(node, ast.Compare) for node in ast.walk(tree))


def _solutions(
    tree: ast.expr, compiler: RuleCompiler, columns: tuple[str, ...]
) -> Mapping[str, pl.Expr]:
    """What each column must be for `left == right`, where that is linear in it."""
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1:
        return {}
    if not isinstance(tree.ops[0], ast.Eq) or compiler.term(tree.left).kind != "number":
        return {}
    difference = ast.BinOp(tree.left, ast.Sub(), tree.comparators[0])
    solutions: dict[str, pl.Expr] = {}
    for column in columns:
        is_number = TERM_OF[compiler.kinds[column]] == "number"
        if not is_number or _degree(difference, column, compiler) != 1:
            continue
        at: list[pl.Expr] = []
        for value in (0.0, 1.0):
            compiler.given = {column: pl.lit(value)}
            at.append(compiler.term(difference).expr)
        compiler.given = {}
        # Sums of decimals leave a trace in the sixteenth digit.
        solutions[column] = quotient(-at[0], at[1] - at[0]).round(6)
    return solutions


def _degree(node: ast.expr, column: str, compiler: RuleCompiler) -> float:
    """Degree of an expression as a polynomial in one column; infinite where it is none."""
    match node:
        case ast.Name():
            return float(compiler.column_name(node) == column)
        case ast.Constant():
            return 0.0
        case ast.UnaryOp():
            return _degree(node.operand, column, compiler)
        case ast.BinOp():
            left, right = (_degree(side, column, compiler) for side in (node.left, node.right))
            if isinstance(node.op, ast.Add | ast.Sub):
                return max(left, right)
            if isinstance(node.op, ast.Mult):
                return left + right
            if isinstance(node.op, ast.Div) and right == 0.0:
                return left
            return 0.0 if left == right == 0.0 else float("inf")
    uses = column in compiler.columns_in(node)
    return float("inf") if uses else 0.0
