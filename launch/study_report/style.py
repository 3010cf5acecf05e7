"""How every picture looks: one colour and marker per scheme, plain tick labels, units on the axes."""
# SPDX-License-Identifier: Apache-2.0
import math

import matplotlib
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

# Okabe and Ito's colours, which people who see few colours tell apart; yellow is left out: too pale for a line.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = ["o", "s", "^", "D", "v", "P", "X"]
GREY = "#777777"


def apply():
    matplotlib.rcParams.update({
        "font.size": 10, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False,
        "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True,
        "lines.linewidth": 1.6, "lines.markersize": 5.5, "legend.frameon": False, "legend.fontsize": 9,
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
    """Colour and marker of every name; beyond seven names the colours return with other markers."""
    found = {}
    for i, name in enumerate(names):
        colour = COLOURS[i % len(COLOURS)]
        found[name] = {"color": colour, "marker": MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]}
    return found


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
    for size, unit in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size * 0.9999:
            return f"{seconds / size:.4g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def percent_text(share, _=None):
    return f"{100 * share:.3g} %"


def ticks_from(values, most):
    """At most `most` of the distinct values, evenly in their logarithms, always with the smallest and the largest."""
    distinct = sorted(set(values))
    if len(distinct) <= most:
        return distinct
    low, high = math.log(distinct[0]), math.log(distinct[-1])
    wanted = [low + (high - low) * i / (most - 1) for i in range(most)]
    return sorted({min(distinct, key=lambda value: abs(math.log(value) - at)) for at in wanted})


def log_measured_axis(axis, scale, values, text, most=7):
    """A log axis of base 2 that has ticks where something was measured."""
    getattr(axis.axes, f"set_{scale}scale")("log", base=2)
    low, high = min(values), max(values)
    getattr(axis.axes, f"set_{scale}lim")(low / 1.25, high * 1.25)
    axis.set_major_locator(FixedLocator(ticks_from(values, most)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(text))


def log_axis(axes, values, text, base):
    """A log y axis that covers the values, with ticks enough to read one off: 1, 2, 5 per decade, or powers of two."""
    axes.set_yscale("log", base=base)
    low, high = min(values), max(values)
    margin = max((high / low) ** 0.06, 1.12)
    axes.set_ylim(low / margin, high * margin)
    decades = math.log10(high / low) if high > low else 0
    if base == 10:
        subs = (1.0,) if decades > 4 else (1.0, 3.0) if decades > 2.2 else (1.0, 2.0, 5.0)
        if decades < 0.7:
            subs = tuple(float(sub) for sub in range(1, 10)) if decades > 0.25 else tuple(s / 2 for s in range(2, 20))
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=subs))
    else:
        octaves = math.log2(high * margin * margin / low)
        if octaves < 2:  # too few powers of two for an axis
            step = 2 ** math.floor(math.log2((high - low) / 3)) if high > low else low / 4
            first = math.floor(low / margin / step)
            axes.yaxis.set_major_locator(FixedLocator([step * i for i in range(first, first + 40) if i > 0]))
        else:
            axes.yaxis.set_major_locator(LogLocator(base=2 ** max(1, math.ceil(octaves / 7))))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
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
