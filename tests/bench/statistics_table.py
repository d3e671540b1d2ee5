"""Medians with spread, as text and as SVG."""

import html
import math


def percentile(sorted_values, fraction):
    """Nearest-rank percentile of a sorted list."""
    return sorted_values[max(0, math.ceil(fraction * len(sorted_values)) - 1)]


def summary(values):
    """{p50, p90, p99, min, max, n}; the unit is the caller's."""
    ordered = sorted(values)
    return {
        "p50": round(percentile(ordered, 0.5), 4),
        "p90": round(percentile(ordered, 0.9), 4),
        "p99": round(percentile(ordered, 0.99), 4),
        "min": round(ordered[0], 4),
        "max": round(ordered[-1], 4),
        "n": len(ordered),
    }


def table(title, unit, rows):
    """`rows`: contender -> summary."""
    width = max([len(name) for name in rows] + [10])
    lines = [f"{title} [{unit}]",
             f"  {'':{width}} {'p50':>10} {'p90':>10} {'min':>10} {'max':>10} {'n':>5}"]
    for name, row in rows.items():
        cells = " ".join(f"{row[key]:>10.2f}" for key in ("p50", "p90", "min", "max"))
        lines.append(f"  {name:{width}} {cells} {row['n']:>5}")
    return "\n".join(lines)


def bar_chart(title, unit, rows):
    """One horizontal bar a contender (median), a line from min to max, a tick at p90: an SVG."""
    left, width, row_height, top = 190, 460, 34, 44
    largest = max(row["max"] for row in rows.values()) or 1
    scale = width / largest
    height = top + row_height * len(rows) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="24" font-size="15">{html.escape(title)} ({html.escape(unit)})</text>',
    ]
    for index, (name, row) in enumerate(rows.items()):
        y = top + index * row_height
        middle = y + row_height / 2 - 4
        colour = "#2a7de1" if name.startswith("containervm") else "#9aa5b1"
        parts += [
            f'<text x="{left - 8}" y="{middle + 5:.1f}" text-anchor="end">{html.escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{row["p50"] * scale:.1f}" height="{row_height - 10}" '
            f'fill="{colour}"/>',
            f'<line x1="{left + row["min"] * scale:.1f}" x2="{left + row["max"] * scale:.1f}" '
            f'y1="{middle:.1f}" y2="{middle:.1f}" stroke="black"/>',
            f'<line x1="{left + row["p90"] * scale:.1f}" x2="{left + row["p90"] * scale:.1f}" '
            f'y1="{middle - 5:.1f}" y2="{middle + 5:.1f}" stroke="black"/>',
            f'<text x="{left + row["max"] * scale + 6:.1f}" y="{middle + 5:.1f}">'
            f'{row["p50"]:.4g}</text>',
        ]
    return "\n".join(parts + ["</svg>", ""])
