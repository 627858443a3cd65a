"""What `compress` prints: its steps, and the package before and after them side by side."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_NAMES = {
    "package_bytes": "package, bytes",
    "parameters": "parameters",
    "non_zero": "not zero",
    "flops": "FLOPs a record",
    "peak_bytes": "memory, bytes",
}
_SIGNS = ("", "", "+")


def print_compressed(result: Mapping[str, Any], console: Console) -> None:
    """Print the result of `compress` for a reader."""
    for number, step in enumerate(result["steps"]):
        what = step["settings"].get("what", "")
        line = f"{number} {step['kind']} {what}".ljust(24) + step["summary"]
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    table = Table("", "base", "compressed", "", box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in _rows(result):
        table.add_row(*row)
    console.print(table, highlight=False, markup=False)
    for name in ("run", "base", "package"):
        line = f"{name:<8} {result[name]}"
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for split, compared in result["compared"].items():
        three = [compared[name] for name in ("base", "compressed", "difference")]
        means = [f"{one['mean']:{sign},.4f}" for one, sign in zip(three, _SIGNS, strict=True)]
        yield f"{split} {compared['score']}", *means
        ends = [
            f"{one['low']:{sign},.3f} to {one['high']:{sign},.3f}"
            for one, sign in zip(three, _SIGNS, strict=True)
        ]
        yield "  95 % interval", *ends
    base, compressed = result["costs"]["base"], result["costs"]["compressed"]
    for key, name in _NAMES.items():
        smaller = f"{base[key] / compressed[key]:.2f} x smaller" if compressed[key] else ""
        yield name, f"{base[key]:,}", f"{compressed[key]:,}", smaller
    for size, before in base["latency"].items():
        after = compressed["latency"][size]
        yield (
            f"ms, batch {size} (95 %)",
            f"{before['median_ms']:.2f} ({before['p95_ms']:.2f})",
            f"{after['median_ms']:.2f} ({after['p95_ms']:.2f})",
            f"{after['speedup']:.2f} x faster",
        )
