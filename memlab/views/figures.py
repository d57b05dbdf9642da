"""Figures: one look, an alternative text for each, and the plots that the notebooks share.

Every plot function takes plain values and returns a matplotlib Figure that pyplot does not know, so nothing is
displayed twice; `show` displays it. Series differ in colour (Okabe-Ito), marker and dash, so no plot depends on
colour alone. Shares and accuracies are fractions in [0, 1], drawn as percentages.
"""

from __future__ import annotations

import base64
import html
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator, PercentFormatter

# Okabe and Ito's palette without black and yellow: black is for reference lines, yellow is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
GREY = "#767676"

STYLE = {
    "figure.dpi": 110,
    "figure.facecolor": "white",  # a transparent figure is unreadable on a dark theme
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "legend.handlelength": 3.2,  # long enough to tell the dashes apart
}

Band = tuple[Sequence[float], Sequence[float], Sequence[float]]


def show(fig: Figure, alt: str, caption: str | None = None) -> None:
    """Display `fig` as an HTML figure whose image carries `alt`, and close it.

    alt: one or two sentences that say what the figure shows, for readers who do not see it; also the plain-text output.
    caption: printed below the figure (default: none).

    Alternative text in output metadata is stored too, but neither JupyterLab nor nbconvert shows it: hence the HTML.
    """
    if not alt.strip():
        raise ValueError("a figure needs an alternative text; pass alt='what the figure shows, in a sentence'")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=fig.dpi, bbox_inches="tight")
    if "matplotlib.pyplot" in sys.modules:
        import matplotlib.pyplot as plt

        plt.close(fig)  # or Jupyter displays a pyplot figure a second time, without its alternative text
    image = base64.b64encode(buffer.getvalue()).decode("ascii")
    below = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    source = (
        '<figure style="margin:0">'
        f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{image}" style="max-width:100%;height:auto">'
        f"{below}</figure>"
    )
    try:
        from IPython.display import display
    except ImportError:  # a plain script
        print(alt)
        return
    display({"text/html": source, "text/plain": alt}, metadata={"text/html": {"alt": alt}}, raw=True)


def spoken(records: Sequence[Mapping[str, Any]], key: str = "accuracy", form: str = ".2f") -> str:
    """The values of `key` by policy and size as a sentence: alternative text for a plot of them."""
    by_policy: dict[str, list[str]] = {}
    for r in records:
        by_policy.setdefault(r["policy"], []).append(f"{r[key]:{form}} at {r['size']}")
    return ". ".join(f"{policy}: {', '.join(values)}" for policy, values in by_policy.items())


@matplotlib.rc_context(STYLE)
def accuracy_vs_size(
    results: Sequence[Mapping[str, Any]],
    trained: tuple[float, float] | None = None,
    size: str = "document length (sections)",
    share: str = "accuracy",
    title: str = "Accuracy against document length",
) -> Figure:
    """Accuracy against size, one line per policy, with 95 % intervals.

    results: one mapping per policy and size with `policy`, `size`, `accuracy`, `ci95` ([low, high]).
    trained: the range of sizes seen in training, shaded. size, share: what the axes say.
    """
    fig = Figure(figsize=(7.2, 4.4))
    ax = fig.subplots()
    if trained:
        ax.axvspan(trained[0] / 1.12, trained[1] * 1.12, color="#f0f0f0", zorder=0, label="trained on these sizes")
    for i, (name, rows) in enumerate(_by_policy(results, "size").items()):
        accuracy, low, high = _intervals(rows)
        _series(ax, i, name, [r["size"] for r in rows], accuracy, low, high)
    _size_axis(ax, [r["size"] for r in results], size)
    _share_axis(ax, share)
    return _finish(fig, ax, title)


@matplotlib.rc_context(STYLE)
def survival_curve(curves: Mapping[str, Mapping[str, Sequence[float]] | Sequence[Sequence[float]]]) -> Figure:
    """Probability that a gold sentence is still in memory, against the number of sections read since it was met.

    curves: name -> what `memlab.evaluation.survival` returns, or (lags in sections, probability, low, high).
    """
    fig = Figure(figsize=(7.2, 4.4))
    ax = fig.subplots()
    for i, (name, curve) in enumerate(curves.items()):
        if isinstance(curve, Mapping):
            curve = [curve[key] for key in ("lags", "probability", "lo", "hi")]
        lags, probability, low, high = curve
        _series(ax, i, name, lags, probability, low, high, ribbon=True)
    ax.set_xlabel("sections read since the gold sentence (0: just read)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _share_axis(ax, "gold sentence still in memory")
    return _finish(fig, ax, "Does memory keep what the answer rests on?")


@matplotlib.rc_context(STYLE)
def accuracy_by_position(results: Sequence[Mapping[str, Any]]) -> Figure:
    """Accuracy against where in the document the gold sentence stands: flat is good, a slope is a position bias.

    results: one mapping per policy and bin with `policy`, `position` (centre of the bin, 0 the start and 1 the end of
    the
        document), `accuracy`, `ci95`, as `memlab.evaluation.by_position` gives them.
    """
    fig = Figure(figsize=(7.2, 4.4))
    ax = fig.subplots()
    groups = _by_policy(results, "position")
    for i, (name, rows) in enumerate(groups.items()):
        accuracy, low, high = _intervals(rows)
        shift = 0.012 * (i - (len(groups) - 1) / 2)  # so that intervals do not hide each other
        _series(ax, i, name, [r["position"] + shift for r in rows], accuracy, low, high)
    ax.set_xticks(sorted({r["position"] for r in results}))
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=None))
    ax.set_xlabel("position of the gold sentence (% of the document, bin centre)")
    _share_axis(ax, "accuracy")
    return _finish(fig, ax, "Accuracy against the position of the gold sentence")


@matplotlib.rc_context(STYLE)
def tokens_vs_size(results: Sequence[Mapping[str, Any]], size: str = "document length (sections)") -> Figure:
    """What a larger task costs: tokens processed in all, and the largest single context, a panel each, log-log.

    results: one mapping per policy and length with `policy`, `size`, `total_tokens`, `peak_context_tokens` (means
        per task, as `memlab.evaluation.summary` gives them).
    """
    fig = Figure(figsize=(9.6, 4.6))
    fig.get_layout_engine().set(wspace=0.06)
    axes = fig.subplots(1, 2)
    panels = (("total_tokens", "tokens read and written, in all", "Total cost"),
              ("peak_context_tokens", "tokens in the largest context", "Largest context"))  # fmt: skip
    for ax, (key, label, title) in zip(axes, panels, strict=True):
        for i, (name, rows) in enumerate(_by_policy(results, "size").items()):
            _series(ax, i, name, [r["size"] for r in rows], [r[key] for r in rows])
        _size_axis(ax, [r["size"] for r in results], size)
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_ylabel(label)
        ax.set_title(title)
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)))
    return fig


# Panel title, and the names a trainer may log it under: memlab's and TRL's.
HEALTH = (
    ("Groups with zero spread", ("zero_spread_share", "frac_reward_zero_std"), True),
    ("Entropy (nats per token)", ("entropy",), False),
    ("Completions cut off", ("clipped_share", "completions/clipped_ratio"), True),
)


@matplotlib.rc_context(STYLE)
def training_curve(
    log_records: Sequence[Mapping[str, Any]], band: Band | None = None, window: int | None = None
) -> Figure:
    """Mean reward against the step, raw and smoothed, over three small panels on the health of the run.

    log_records: one mapping per logged step with `step` and `reward`; and, where logged, the share of groups with
    zero reward
        spread, the entropy and the share of completions cut off (names: HEALTH). Records without a reward are ignored.
    band: (steps, low, high) of recorded runs, drawn under the curve.
    window: steps in the running mean (default: a twentieth of the run).
    """
    records = [r for r in log_records if r.get("reward") is not None]
    if not records:
        raise ValueError("the log has no record with a reward; train for at least one step first")
    steps = np.array([r["step"] for r in records], float)
    window = window or max(1, len(records) // 20)
    panels = [
        (title, names, share) for title, names, share in HEALTH if any(_first(r, names) is not None for r in records)
    ]
    fig = Figure(figsize=(8.4, 5.6 if panels else 4.2))
    grid = fig.add_gridspec(2 if panels else 1, max(1, len(panels)), height_ratios=[2.4, 1] if panels else [1])
    ax = fig.add_subplot(grid[0, :])
    if band:
        ax.fill_between(*band, color="#c9c9c9", linewidth=0, label="recorded runs, low to high")
    reward = np.array([r["reward"] for r in records], float)
    if window > 1:
        ax.plot(steps, reward, color=PALETTE[5], linewidth=0.9, alpha=0.8, label="each step")
    ax.plot(steps, _running_mean(reward, window), color=PALETTE[0], linewidth=2.2,
            marker="o" if len(records) == 1 else None,
            label=f"mean of {window} steps" if window > 1 else "this run")  # fmt: skip
    if reward.min() >= 0 and reward.max() <= 1:
        ax.set_ylim(-0.03, 1.03)  # the whole scale, so that a small gain looks small
    if len(steps) == 1:
        ax.set_xlim(steps[0] - 1, steps[0] + 1)
    ax.set_title("Training: mean reward")
    ax.set_ylabel("mean reward")
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="best")
    for i, (title, names, share) in enumerate(panels):
        small = fig.add_subplot(grid[1, i])
        points = [(r["step"], _first(r, names)) for r in records if _first(r, names) is not None]
        small.plot(
            *zip(*points, strict=True), color=PALETTE[1], linewidth=1.2, marker="o" if len(points) == 1 else None
        )
        small.set_title(title, fontsize=10, fontweight="normal")
        small.set_xlabel("step", fontsize=10)
        small.tick_params(labelsize=9)
        small.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if share:
            small.set_ylim(-0.03, 1.03)
            small.set_yticks((0, 0.5, 1))
            small.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        else:
            small.set_ylim(bottom=0)
            small.yaxis.set_major_locator(MaxNLocator(3))
    return fig


def _by_policy(results: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[Mapping[str, Any]]]:
    """Rows per policy, in order of first appearance, each sorted by `key`."""
    names = dict.fromkeys(r["policy"] for r in results)
    return {str(name): sorted((r for r in results if r["policy"] == name), key=lambda r: r[key]) for name in names}


def _intervals(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float], list[float]]:
    return [r["accuracy"] for r in rows], [r["ci95"][0] for r in rows], [r["ci95"][1] for r in rows]


def _series(ax: Axes, i: int, name: str, x, y, low=None, high=None, ribbon: bool = False) -> None:
    """One named line, the i-th of its axes, with an interval as bars or as a ribbon."""
    look = {"color": PALETTE[i % 6], "marker": MARKERS[i % 6], "linestyle": DASHES[(i + i // 6) % 6], "label": name}
    x, y = np.asarray(x, float), np.asarray(y, float)
    if low is None:
        ax.plot(x, y, **look)
    elif ribbon:
        ax.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
        ax.plot(x, y, markevery=max(1, len(x) // 16), **look)
    else:
        bars = np.clip([y - np.asarray(low, float), np.asarray(high, float) - y], 0, None)
        ax.errorbar(x, y, yerr=bars, capsize=3, elinewidth=1.1, **look)


def _size_axis(ax: Axes, sizes: Sequence[float], label: str) -> None:
    sizes = sorted(set(sizes))
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{s:g}" for s in sizes])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(label)


def _share_axis(ax: Axes, label: str) -> None:
    ax.set_ylim(-0.03, 1.03)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=None))
    ax.set_ylabel(f"{label} (%)")


def _finish(fig: Figure, ax: Axes, title: str) -> Figure:
    """Title, and the legend outside the axes, where it covers no point."""
    ax.set_title(title)
    handles, names = ax.get_legend_handles_labels()
    if names:
        fig.legend(handles, names, loc="outside lower center", ncols=min(3, len(names)))
    return fig


def _running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """(N,) -> (N,): the mean of the last `window` values, fewer at the start, so that no step looks ahead."""
    total = np.cumsum(np.concatenate([[0.0], values]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(0, end - window)
    return (total[end] - total[start]) / (end - start)


def _first(record: Mapping[str, Any], names: Sequence[str]) -> float | None:
    return next((record[n] for n in names if record.get(n) is not None), None)
