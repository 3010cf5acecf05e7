"""How every picture looks: one colour and marker per scheme, plain tick labels, units on the axes."""
# SPDX-License-Identifier: Apache-2.0
import math

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

# Okabe and Ito's colours, which people who see few colours tell apart; yellow is left out: too pale for a line.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
GREY = "#777777"


def apply():
    matplotlib.rcParams.update({
        "font.size": 10, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "legend.frameon": False, "legend.fontsize": 9,
        "figure.dpi": 100, "svg.hashsalt": "annulus",
    })


def save(figure, path):
    for extension, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 130})):
        figure.savefig(f"{path}.{extension}", bbox_inches="tight", **options)
    plt.close(figure)


def plain(text):
    """Text from a file, which is no formula and no hidden legend entry."""
    return text.replace("$", r"\$").lstrip("_")


def looks(names):
    """Colour and marker of every name; beyond seven names the colours return with other markers. Later ones are drawn
    above and finer, so that lines on one another stay visible."""
    return {name: {"color": COLOURS[i % len(COLOURS)],
                   "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)], "markersize": max(8.0 - 0.9 * i, 4.0), "linewidth": max(2.6 - 0.4 * i, 1.1), "markeredgecolor": "white",
                   "markeredgewidth": 0.5}
            for i, name in enumerate(names)}


def tokens_text(count, _=None):
    """64k, 1M as the options take them; 1.5k where that is shorter than the number."""
    for size, suffix in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if count >= size:
            return f"{count / size:.3g}{suffix}"
    return f"{count:.4g}"


def bytes_text(count, _=None):
    for size, unit in ((1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.3g} B"


def seconds_text(seconds, _=None):
    if seconds <= 0:
        return "0 s"
    if seconds >= 1000:
        return f"{seconds:.0f} s"
    for size, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size * 0.9999:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def percent_text(share, _=None):
    return f"{100 * share:.3g} %"


def ticks_from(values, nearest):
    """Of the values those that keep a share `nearest` of the log axis between them: ends first, then powers of two."""
    distinct = sorted(set(values))
    length = math.log(distinct[-1] / distinct[0]) or 1.0
    kept = []
    for value in sorted(distinct, key=lambda v: (v not in (distinct[0], distinct[-1]), math.log2(v) % 1 != 0, v)):
        if all(abs(math.log(value / other)) >= nearest * length for other in kept):
            kept.append(value)
    return kept


def log_x_axis(axes, values, text, nearest):
    """Base 2, with ticks where something was measured."""
    axes.set_xscale("log", base=2)
    margin = max((max(values) / min(values)) ** 0.06, 1.05)
    axes.set_xlim(min(values) / margin, max(values) * margin)
    axes.xaxis.set_major_locator(FixedLocator(ticks_from(values, nearest)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(text))


def log_ticks(low, high, base):
    """A locator with four to eight ticks: 1, 2, 5 per decade, powers of two, or round steps where these are too few."""
    spans = math.log(high / low, base)
    if base == 10 and spans >= 1:
        return LogLocator(base=10, subs=(1.0,) if spans > 4 else (1.0, 3.0) if spans > 2.2 else (1.0, 2.0, 5.0))
    if base == 2 and spans >= 2.5:
        return LogLocator(base=2 ** max(1, math.ceil(spans / 8)))
    unit = 2.0 ** (10 * math.floor(math.log2(low) / 10)) if base == 2 else 1.0
    steps = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low / unit, high / unit)
    return FixedLocator([step * unit for step in steps if step > 0])


def log_y_axis(axes, values, text, base):
    axes.set_yscale("log", base=base)
    margin = max((max(values) / min(values)) ** 0.06, 1.08)
    low, high = min(values) / margin, max(values) * margin
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(log_ticks(low, high, base))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(text))


def legend(figure, found, extra):
    """One legend below all axes: the names, then what the lines mean."""
    handles = [Line2D([], [], label=plain(name), linestyle="-", **look) for name, look in found.items()]
    handles += extra
    longest = max(len(handle.get_label()) for handle in handles)
    width = figure.get_size_inches()[0]
    columns = max(1, min(len(handles), int(width * 13 / (longest + 8))))
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=columns)


def line_meanings(measured=True, predicted=True, ideal=False):
    handles = []
    if measured and predicted:
        handles.append(Line2D([], [], color=GREY, linestyle="-", marker="o", label="measured"))
    if predicted:
        handles.append(Line2D([], [], color=GREY, linestyle="--", label="predicted"))
    if ideal:
        handles.append(Line2D([], [], color=GREY, linestyle=":", label="ideal"))
    return handles
