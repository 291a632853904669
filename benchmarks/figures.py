"""Statistics and tables. Pure: numbers in, text out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# The tool that all ratios are against.
REFERENCE = "procwatch"


@dataclass(frozen=True, slots=True)
class Spread:
    """What is shown of many values."""

    count: int
    median: float
    high: float
    percent: int = 95


@dataclass(frozen=True, slots=True)
class Row:
    """What one tool has shown: the values of each column, and remarks."""

    tool: str
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One subject, measured in one run. `columns` name their unit; `how` says in what order it was measured.

    `has_ratios`: whether how many times procwatch's means anything. `percent`: which percentile is shown.
    """

    subject: str
    how: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    has_ratios: bool = True
    percent: int = 95


def spread(values: Sequence[float], percent: int = 95) -> Spread | None:
    """Median and a percentile (the smallest value that at least so many percent do not exceed)."""
    if not values:
        return None
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return Spread(len(ordered), statistics.median(ordered), ordered[rank - 1], percent)


def ratio(value: float, reference: float) -> float | None:
    """How many times the reference; none where the reference is nothing."""
    return value / reference if reference else None


def number(value: float) -> str:
    """Three digits that count, thousands with a comma."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def render(result: Result) -> str:
    """A Markdown table with a title; the ratio of each median to procwatch's stands behind it."""
    if result.has_ratios:
        reference = {row.tool: row for row in result.rows}.get(REFERENCE, Row(REFERENCE))
        titles = [title for column in result.columns for title in (column, "ratio")]
        body = [[row.tool, *_cells(row, reference, result), row.note] for row in result.rows]
    else:
        titles = [*result.columns]
        body = [[row.tool, *(_cell(row, column, result) for column in titles), row.note] for row in result.rows]
    head = ["", *titles, "remarks"]
    return f"### {result.subject}\n\n{result.how}.\n\n{table(head, body)}\n"


def _cells(row: Row, reference: Row, result: Result) -> list[str]:
    cells: list[str] = []
    for column in result.columns:
        shown = spread(row.values.get(column, ()), result.percent)
        base = spread(reference.values.get(column, ()))
        if shown is None:
            cells += ["-", "-"]
            continue
        times = ratio(shown.median, base.median) if base else None
        cells += [_shown(shown), "-" if times is None else f"{number(times)}x"]
    return cells


def _cell(row: Row, column: str, result: Result) -> str:
    found = spread(row.values.get(column, ()), result.percent)
    return "-" if found is None else _shown(found)


def _shown(spread_of: Spread) -> str:
    """The median, and behind it what nearly all stay below; a single value may be a count."""
    if spread_of.count == 1:
        only = spread_of.median
        return f"{only:,.0f}" if only.is_integer() else number(only)
    # With fewer values the percentile is the largest one.
    word = f"p{spread_of.percent}" if spread_of.count * (100 - spread_of.percent) >= 100 else "max"
    return f"{number(spread_of.median)} ({word} {number(spread_of.high)})"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Markdown, padded so that it can be read as it is."""
    widths = [max(len(cells[place]) for cells in (head, *body)) for place in range(len(head))]
    lines = [_line(head, widths), "| " + " | ".join("-" * max(3, width) for width in widths) + " |"]
    return "\n".join([*lines, *(_line(cells, widths) for cells in body)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(max(3, width)) for cell, width in zip(cells, widths, strict=True)) + " |"


def as_data(result: Result) -> dict[str, Any]:
    """The same with every single value, for JSON."""
    rows = [{"tool": row.tool, "values": {k: list(v) for k, v in row.values.items()}, "note": row.note}
            for row in result.rows]  # fmt: skip
    return {"subject": result.subject, "how": result.how, "columns": list(result.columns), "rows": rows}
