"""The picture of docs/benchmarks.md: the speed of this project's registry relative to others."""

import statistics
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.page import PAGE

PICTURE = PAGE.with_suffix(".svg")


def write_bars(title: str, results: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Draw a bar for each name: the median of its ratios, with a line from minimum to maximum."""
    mpl.rcParams.update({"svg.hashsalt": "oss-registry", "font.size": 9})
    figure = Figure(figsize=(8, 0.8 + 0.4 * len(results)), layout="constrained")
    axes = figure.subplots()
    medians = [statistics.median(ratios) for _, ratios in results]
    below = [median - min(ratios) for median, (_, ratios) in zip(medians, results, strict=True)]
    above = [max(ratios) - median for median, (_, ratios) in zip(medians, results, strict=True)]
    bars = axes.barh([name for name, _ in results], medians, xerr=[below, above], color="#4c78a8")
    axes.bar_label(bars, [f"{median:.2f}" for median in medians], padding=4)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("times as fast (longer is better; 1 is as fast)")
    axes.set_title(title, fontsize=10)
    # Without a date, the same results give the same file.
    figure.savefig(PICTURE, metadata={"Date": None})
