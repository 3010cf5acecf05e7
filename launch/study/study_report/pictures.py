"""The pictures, from the points that annulus report hands over. Measured: solid; predicted: dashed; ideal: dotted."""
# SPDX-License-Identifier: Apache-2.0
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter

import style

MOST_COLUMNS = 3


def all_pictures(study):
    """(name, figure) of every picture that the study has data for."""
    drawn = [("longest", longest(study)), ("time", over_ranks(study, TIME)),
             ("efficiency", over_ranks(study, EFFICIENCY)), ("layers", layer_kinds(study)),
             ("lengths", ring_and_window(study)), ("exposed", over_ranks(study, EXPOSED)),
             ("memory", over_ranks(study, MEMORY))]
    return [(name, figure) for name, figure in drawn if figure is not None]


class Quantity:
    """One number of a point: where it is, how its axis reads. `scale` is the base of a log axis, or 0 for shares."""

    def __init__(self, field, label, text, scale, spread=None):
        self.field, self.label, self.text, self.scale, self.spread = field, label, text, scale, spread

    def curves(self, points, across):
        """[(x, y)] measured, [(low, high)] of its samples, [(x, y)] predicted, in the order of x."""
        points = sorted(points, key=lambda point: point[across])
        measured = [point for point in points if self.is_there(point, "measured")]
        spreads = [self.spread_of(point) for point in measured]
        curve = {side: [(point[across], point[self.field][side]) for point in points if self.is_there(point, side)]
                 for side in ("measured", "predicted")}
        return curve["measured"], spreads, curve["predicted"]

    def is_there(self, point, side):
        value = point[self.field][side]
        return value is not None and (self.scale == 0 or value > 0)

    def spread_of(self, point):
        value = point[self.field]["measured"]
        spread = point.get(self.spread) if self.spread else None
        return spread if spread and spread[0] > 0 else [value, value]


TIME = Quantity("seconds", "time", style.seconds_text, 10, "seconds_range")
EFFICIENCY = Quantity("efficiency", "efficiency per rank", style.percent_text, 0)
EXPOSED = Quantity("exposed_share", "exposed communication, share of time", style.percent_text, 0)
MEMORY = Quantity("memory_bytes", "peak memory of the largest rank", style.bytes_text, 2, "memory_range")
LONGEST = Quantity("longest", "longest context, tokens", style.tokens_text, 2)
LAYER = Quantity("seconds", "time per layer", style.seconds_text, 10)


def grouped(points, key):
    groups = {}
    for point in points:
        groups.setdefault(key(point), []).append(point)
    return dict(sorted(groups.items()))


def by_scheme(points):
    return grouped(points, lambda point: point["scheme"])


def without_empty(panel_groups):
    return {name: groups for name, groups in panel_groups.items() if groups}


def panels(count, sharey):
    columns = 2 if count == 4 else min(count, MOST_COLUMNS)
    rows = -(-count // columns)
    width = {1: 6.4, 2: 9.2}.get(columns, 12.4)
    figure, axes = plt.subplots(rows, columns, figsize=(width, 3.7 * rows), squeeze=False, sharey=sharey,
                                layout="constrained")
    flat = list(axes.flat)
    for unused in flat[count:]:
        unused.set_visible(False)
    return figure, flat[:count], columns


def draw(axes, curves, look):
    """One scheme in one panel."""
    measured, spreads, predicted = curves
    if predicted:
        axes.plot(*zip(*predicted), linestyle="--", linewidth=1.3, color=look["color"], alpha=0.9, zorder=2)
        if not measured:
            axes.plot(*zip(*predicted), linestyle="", marker="_", color=look["color"], zorder=2)
    if measured:
        x, y = zip(*measured)
        bars = [[max(0.0, value - low) for value, (low, _) in zip(y, spreads)],
                [max(0.0, high - value) for value, (_, high) in zip(y, spreads)]]
        axes.errorbar(x, y, yerr=bars if any(map(any, bars)) else None, capsize=3, elinewidth=1, zorder=3, **look)


def values_of(curves):
    """All y that a log axis must cover."""
    return [y for measured, spreads, predicted in curves
            for y in [y for _, y in measured + predicted] + [edge for spread in spreads for edge in spread] if y > 0]


def finish_y(axes, quantity, curves):
    if quantity.scale:
        style.log_y_axis(axes, values_of(curves), quantity.text, quantity.scale)
    else:
        top = max([y for measured, _, predicted in curves for _, y in measured + predicted] + [0.0])
        axes.set_ylim(0, max(top * 1.08, 0.01))
        axes.yaxis.set_major_formatter(FuncFormatter(quantity.text))
    if axes.get_subplotspec().is_first_col():
        axes.set_ylabel(quantity.label)
    if quantity is EFFICIENCY:
        axes.axhline(1, color=style.GREY, linestyle=":", linewidth=1.2, zorder=1)


def has_two(values):
    return len(set(values)) > 1


def picture(panel_points, found, quantity, across, axis_text, axis_label, titles, ideal=False, sharey=False):
    """`panel_points` has one {name: points} per panel. Panels of shares, and others on request, share the y axis."""
    sharey = sharey or quantity.scale == 0
    curves = [{name: quantity.curves(points, across) for name, points in panel.items()} for panel in panel_points]
    everything = [curve for panel in curves for curve in panel.values()]
    figure, axes_list, columns = panels(len(panel_points), sharey)
    for axes, panel, title in zip(axes_list, curves, titles):
        for name, curve in panel.items():
            draw(axes, curve, found[name])
        x = [x for measured, _, predicted in panel.values() for x, _ in measured + predicted]
        style.log_x_axis(axes, x, axis_text, nearest=0.04 + 0.03 * columns)
        axes.set_xlabel(axis_label)
        axes.set_title(title)
        finish_y(axes, quantity, everything if sharey else list(panel.values()))
    has_measured = any(measured for measured, _, _ in everything)
    has_predicted = any(predicted for _, _, predicted in everything)
    style.legend(figure, found, style.line_meanings(has_measured, has_predicted, ideal))
    return figure


def with_curves(groups, quantity, across):
    """Those names whose points have something to draw at two places at least."""
    kept = {}
    for name, points in groups.items():
        measured, _, predicted = quantity.curves(points, across)
        if has_two([x for x, _ in measured + predicted]):
            kept[name] = points
    return kept


def series_title(study, series):
    return f"{style.tokens_text(series)} tokens" + (" per rank" if study["study"] == "weak" else "")


def ranks_text(count, _=None):
    return f"{count:.0f}"


def over_ranks(study, quantity):
    """A panel per length (weak: per tokens of a rank), a line per scheme."""
    by_series = grouped(study["times"], lambda point: point["series"])
    kept = without_empty({series: with_curves(by_scheme(points), quantity, "ranks")
                          for series, points in by_series.items()})
    if not kept or (quantity is EXPOSED and not any_positive(kept, quantity)):
        return None
    titles = [series_title(study, series) for series in kept]
    return picture(list(kept.values()), looks_in(study, kept), quantity, "ranks", ranks_text, "ranks", titles,
                   ideal=quantity is EFFICIENCY)


def any_positive(kept, quantity):
    points = [point for groups in kept.values() for of_name in groups.values() for point in of_name]
    return any((point[quantity.field][side] or 0) > 0 for point in points for side in ("measured", "predicted"))


def looks_in(study, panel_groups):
    """Of the schemes in some panel; a scheme looks the same in every picture of a study."""
    wanted = {name for groups in panel_groups.values() for name in groups}
    names = sorted({point["scheme"] for point in study["times"] + study["longest"]})
    return {name: look for name, look in style.looks(names).items() if name in wanted}


def longest(study):
    groups = with_curves(by_scheme(study["longest"]), LONGEST, "ranks")
    if not groups:
        return None
    found = looks_in(study, {"": groups})
    ideal = {name: sorted((point["ranks"], point["ideal"]) for point in points if point["ideal"])
             for name, points in groups.items()}
    budgets = {point["budget_bytes"] for points in groups.values() for point in points} - {None}
    title = f"within {style.bytes_text(budgets.pop())} of a rank" if len(budgets) == 1 else ""
    figure = picture([groups], found, LONGEST, "ranks", ranks_text, "ranks", [title], ideal=any(ideal.values()))
    axes = figure.axes[0]
    for name, line in ideal.items():
        if line:
            axes.plot(*zip(*line), linestyle=":", linewidth=1.3, color=found[name]["color"], zorder=1)
    values = values_of([LONGEST.curves(points, "ranks") for points in groups.values()])
    style.log_y_axis(axes, values + [y for line in ideal.values() for _, y in line], LONGEST.text, 2)
    return figure


def layer_points(study):
    """Points of layers, flat: kind and direction beside the fields of the point they belong to."""
    return [{**layer, **{field: point[field] for field in ("scheme", "ranks", "seq_len", "series")}}
            for point in study["times"] for layer in point["layers"]]


def kind_text(kind):
    return {"global": "global layers (ring)", "local": "local layers (window)"}.get(kind, style.plain(kind))


def layer_kinds(study):
    """Time of a layer against ranks, a panel per kind and direction, of the series with the most rank counts."""
    by_series = grouped(layer_points(study), lambda layer: layer["series"])
    if not by_series:
        return None
    series = max(by_series, key=lambda name: (len({layer["ranks"] for layer in by_series[name]}), name))
    by_kind = grouped(by_series[series],
                      lambda layer: (layer["direction"] != "forward", layer["kind"], layer["direction"]))
    kept = without_empty({key: with_curves(by_scheme(layers), LAYER, "ranks") for key, layers in by_kind.items()})
    if not kept:
        return None
    titles = [f"{kind_text(kind)}, {style.plain(direction)}\n{series_title(study, series)}" for _, kind, direction in kept]
    return picture(list(kept.values()), looks_in(study, kept), LAYER, "ranks", ranks_text, "ranks", titles)


KIND_LOOKS = {"global layers (ring)": {"color": "#000000", "marker": "o"},
              "local layers (window)": {"color": "#E69F00", "marker": "s"}}


def ring_and_window(study):
    """Time of a layer against the length, a panel per scheme that has both kinds."""
    layers = [layer for layer in layer_points(study)
              if kind_text(layer["kind"]) in KIND_LOOKS and layer["direction"] == "forward"]
    by_ranks = grouped(layers, lambda layer: layer["ranks"])
    if not by_ranks:
        return None
    ranks = max(by_ranks, key=lambda name: (len({layer["seq_len"] for layer in by_ranks[name]}), name))
    by_kind = {scheme: grouped(of_scheme, lambda layer: kind_text(layer["kind"]))
               for scheme, of_scheme in by_scheme(by_ranks[ranks]).items()}
    kept = {scheme: with_curves(groups, LAYER, "seq_len") for scheme, groups in by_kind.items()}
    kept = {scheme: groups for scheme, groups in kept.items() if len(groups) > 1}
    if not kept:
        return None
    titles = [f"{style.plain(scheme)}\n{ranks} ranks" for scheme in kept]
    return picture(list(kept.values()), KIND_LOOKS, LAYER, "seq_len", style.tokens_text, "sequence length, tokens",
                   titles, sharey=True)
