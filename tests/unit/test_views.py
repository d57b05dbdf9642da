"""Tables and figures say what happened, without colour, and show hostile text as text."""

import base64
import json
import random
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from memlab.episode import Ask, Outcome, Trajectory, Turn
from memlab.memory import Event, TextMemory
from memlab.papers.memory_r1 import Moments
from memlab.views import figures, tables
from memlab.views.tables import BADGES, CLIP, GOLD, right_answers, table, trajectory_table, trajectory_text, visible
from memlab.worlds import Task
from memlab.worlds.dialogues import Dialogues, Stages
from memlab.worlds.lookup import Lookup

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "</td></tr></table><h1>gone",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b2J",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200f",
    "null \x00 and \ufeff and \ud800 and \U000e0041",
    "two\nlines\r\nand\ttabs\u2028x",
    "&lt;b&gt; &amp; | pipe ` tick * star",
    "a" * 1_000_000,
    "",
]
hostile = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60))


def play(writes, gold=(), answer="mill", task=True):
    """A trajectory of one memory write a turn and an answer turn."""
    memory, turns = TextMemory(40, "nothing ."), []
    for text in writes:
        memory.write(text)
        turns.append(Turn(Ask("p", 8), text, 60, 9))
    turns.append(Turn(Ask("p", 4), answer, 30, 2))
    asked = Task("where is the thing mira keeps ?", ("mill",), ("s",) * len(writes), gold, (0,) * len(gold))
    return Trajectory(asked if task else None, turns, [], Outcome(1.0, answer, {"f1": 1.0}, tuple(memory.events)))


GOLDS = ("mira keeps the lantern .", "the lantern is in the mill .")
STORY = [
    "mira keeps the lantern . tom wants the coin .",
    "mira keeps the lantern . tom wants the old coin .",
    "mira keeps the lantern . the lantern is in the mill .",
    "the lantern is in the mill .",
]


def parsed(markup):
    """The markup as a tree: fails on anything unbalanced or unescaped."""
    return ET.fromstring(markup.replace("<br>", "<br/>"))


def test_trajectory_says_what_became_of_every_item():
    text = trajectory_text(play(STORY, GOLDS))
    for line in (
        r"turn 0  read 60, wrote 9 tokens  gold held: 1 of 2",
        r"\+ written    \[★ gold\] mira keeps the lantern \.",
        r"= kept       \[★ gold\] mira keeps the lantern \.",
        r"~ rewritten  tom wants the old coin \.  \(was: tom wants the coin \.\)",
        r"- deleted    tom wants the old coin \.",
        r"- deleted    \[★ gold lost\] mira keeps the lantern \.",
        r"wrote: mill",
        r"reward 1, answer: \"mill\" \(expected: mill\)",
    ):
        assert re.search(line, text), line


def test_alternatives_are_joined_by_or_and_answers_to_several_questions_as_they_are_written():
    rng = random.Random(0)
    assert right_answers(replace(play(STORY, GOLDS).task, answers=("mill", "the mill"))) == ["mill", "the mill"]
    for task in (Lookup().make(rng, 3), Dialogues().make(rng, 4), Stages().make(rng, 2), Moments().make(rng)):
        [text] = right_answers(task)
        values = [value for answer in task.answers for value in ([answer] if isinstance(answer, str) else answer)]
        assert [word for word in text.split() if word not in ",;"] == values
    assert right_answers(None) == []


def test_html_says_the_same_as_the_terminal():
    trajectory = play(STORY, GOLDS)
    tree = parsed(trajectory._repr_html_())
    words = " ".join("".join(tree.itertext()).split())
    for line in trajectory_text(trajectory).splitlines():
        for part in re.findall(r"[★\w .]{6,}", re.sub(r"turn \d.*|[\[\]()]|was:", "\n", line)):
            assert " ".join(part.split()) in words, part
    assert tree.find("caption") is not None
    assert all(th.get("scope") in ("col", "row") for th in tree.iter("th"))
    assert [th.text for th in tree.iter("th") if th.get("scope") == "row"] == ["0", "1", "2", "3", "4"]


def test_rewritten_gold_and_a_second_copy_are_told_apart():
    task = Task("q", ("a",), ("s",), ("the lantern is in the mill .",), (0,))
    events = [
        Event(0, "write", 0, "the lantern is in the mill ."),
        Event(0, "write", 1, "The lantern is in the mill!"),
        Event(1, "keep", 0, "the lantern is in the mill ."),
        Event(1, "delete", 1, "The lantern is in the mill!"),
        Event(2, "rewrite", 0, "the lantern is in the barn .", "the lantern is in the mill ."),
    ]
    turns = [Turn(Ask("p", 1), "x", 1, 1)] * 3
    text = trajectory_text(Trajectory(task, turns, [], Outcome(0.0, "", {}, events)))
    assert "- deleted    [★ gold, held elsewhere]" in text
    assert "~ rewritten  [★ gold lost] the lantern is in the barn" in text
    assert "gold held: 0 of 1" in text


def test_what_a_turn_does_not_mention_is_still_held():
    golds = ("mira adopted rex .", "mira also adopted scout .")
    task = Task("q", ("a",), ("s",), golds, (0, 1))
    events = [Event(0, "write", 0, golds[0]), Event(1, "write", 1, golds[1]), Event(3, "delete", 0, golds[0])]
    turns = [Turn(Ask("p", 1), "x", 1, 1)] * 4
    text = trajectory_text(Trajectory(task, turns, [], Outcome(0.0, "", {}, events)))
    assert re.findall(r"gold held: (\d of \d)", text) == ["1 of 2", "2 of 2", "2 of 2", "1 of 2"]
    assert "- deleted    [★ gold lost] mira adopted rex ." in text


@settings(deadline=None)  # a million characters take their time on a busy machine
@given(st.lists(hostile, min_size=1, max_size=4), hostile, hostile)
@example(HOSTILE, HOSTILE[0], HOSTILE[6])
def test_hostile_text_is_shown_as_text(writes, answer, gold):
    events = [Event(i, "rewrite", 0, text, previous=text) for i, text in enumerate(writes)]
    turns = [Turn(Ask("p", 8), text, 1, 1, truncated=True) for text in [*writes, answer]]
    task = Task(answer, (answer,), (), (gold,), (0,))
    trajectory = Trajectory(task, turns, [], Outcome(0.0, answer, {answer[:50]: 1.0}, events))
    markup, text = trajectory_table(trajectory), trajectory_text(trajectory)
    used = {element.tag for element in parsed(markup).iter()}
    assert used <= {
        "table",
        "caption",
        "thead",
        "tbody",
        "tfoot",
        "tr",
        "th",
        "td",
        "ul",
        "li",
        "span",
        "s",
        "bdi",
        "br",
    }
    for shown in (markup, text):
        shown.encode("utf-8")  # no lone surrogates
        assert not re.search(
            r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]", shown
        )
    assert len(text) < 60 * CLIP and len(markup) < 200 * CLIP


@given(hostile)
def test_visible_is_one_bounded_line(text):
    shown = visible(text)
    assert "\n" not in shown and len(shown) < 10 * CLIP + 60
    if len(text) > CLIP:
        assert f"[... {len(text) - CLIP:,} more characters]" in shown
    if text.isascii() and text.isprintable() and len(text) <= CLIP:
        assert shown == text


def test_any_trajectory_can_be_shown():
    empty = Trajectory(None, [], [], Outcome(float("nan"), "", {}, ()))
    assert "reward nan" in trajectory_text(empty) and parsed(trajectory_table(empty)) is not None
    assert "gold" not in trajectory_text(play(STORY, task=False)).lower()
    late = Trajectory("any task", [], [], Outcome(0.0, "", {}, (Event(7, "write", 0, "x"), Event(-1, "fold", 0, "y"))))
    assert "turn 7" in trajectory_text(late) and "? fold" in trajectory_text(late)
    assert "no exchange was recorded" in trajectory_table(late) and "before the first turn" in trajectory_table(late)


def test_long_trajectories_are_shortened_with_a_note():
    turns = [Turn(Ask("p", 1), "w", 1, 1)] * 500
    events = [Event(t, "write", i, f"item {i}") for t in (0, 499) for i in range(100)]
    trajectory = Trajectory(None, turns, [], Outcome(0.0, "", {}, events))
    for shown in (trajectory_text(trajectory), trajectory_table(trajectory)):
        assert "[... turns 30 to 469 are not shown]" in shown and "[... 60 more items]" in shown
    assert len(list(parsed(trajectory_table(trajectory)).iter("tr"))) == 1 + tables.MAX_TURNS + 1 + 1


def _luminance(colour):
    rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_badges_are_told_apart_without_colour_and_read_on_any_theme():
    badges = [*BADGES.values(), GOLD]
    assert len({text[0] for text, _ in badges}) == len(badges)
    assert all((_luminance(ground) + 0.05) / 0.05 >= 4.5 for _, ground in badges), "black text, WCAG AA"


def test_table_renders_three_ways():
    rows = [
        {"policy": "oracle", "size": 4, "accuracy": 1.0, "tokens": 12345.6},
        {"policy": "a|b <b>", "size": 16, "accuracy": 0.3456, "note": "x"},
    ]
    made = table(rows, caption="Results <1>", formats={"accuracy": ".1%", "size": lambda s: f"{s} sections"})
    tree = parsed(made._repr_html_())
    assert tree.find("caption/bdi").text == "Results <1>"
    assert [th.get("scope") for th in tree.iter("th")] == ["col"] * 5 + ["row"] * 2
    assert [td.find("bdi").text for td in tree.iter("td")] == ["4 sections", "100.0%", "12,346", None] + [
        "16 sections",
        "34.6%",
        None,
        "x",
    ]
    lines = str(made).splitlines()
    assert lines[0] == "Results <1>" and len({len(line.rstrip()) for line in lines[1:3]}) == 1
    assert lines[3].index("100.0%") + 6 == lines[4].index("34.6%") + 5, "numbers are flush right"
    markdown = made._repr_markdown_()
    assert "a\\|b &lt;b&gt;" in markdown and "<b>" not in markdown


def test_table_edges():
    assert "<table>" in table([])._repr_html_() and str(table([], caption="none")).startswith("none")
    with pytest.raises(ValueError, match="acuracy"):
        table([{"accuracy": 1}], formats={"acuracy": ".2f"})
    assert len(str(table([{"text": "z" * 10**6}]))) < 3 * (CLIP + 100)


@given(st.lists(st.dictionaries(hostile, hostile, min_size=1, max_size=3), min_size=1, max_size=3), hostile)
def test_table_escapes_everything(rows, caption):
    tree = parsed(table(rows, caption)._repr_html_())
    assert {e.tag for e in tree.iter()} <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "bdi"}
    assert not re.search(r"<[a-z/!]", table(rows, caption)._repr_markdown_())


# ---------------------------------------------------------------- figures


def sweep():
    sizes, policies = (1, 4, 16), {"trained": 0.9, "warm start": 0.2}
    return [
        {
            "policy": name,
            "size": size,
            "accuracy": a,
            "ci95": [a - 0.05, a + 0.05],
            "total_tokens": 90 * size,
            "peak_context_tokens": 90,
            "position": size / 32,
        }
        for name, a in policies.items()
        for size in sizes
    ]


def survival(lags=8):
    p = np.linspace(1, 0.5, lags)
    return {"lags": list(range(lags)), "probability": p, "lo": p - 0.1, "hi": p, "n": [9] * lags}


LOG = [
    {"step": s, "reward": s / 40, "zero_spread_share": 0.1, "entropy": 1.0, "clipped_share": 0.0} for s in range(1, 41)
]
FIGURES = {
    "accuracy_vs_size": lambda: figures.accuracy_vs_size(sweep(), trained=(1, 3)),
    "survival_curve": lambda: figures.survival_curve(
        {"trained": survival(), "tuple": ([0, 1], [1, 0.5], [0.9, 0.4], [1, 0.6])}
    ),
    "accuracy_by_position": lambda: figures.accuracy_by_position(sweep()),
    "tokens_vs_size": lambda: figures.tokens_vs_size(sweep()),
    "training_curve": lambda: figures.training_curve(LOG, band=([1, 40], [0, 0.8], [0.2, 1])),
    "training_curve without health": lambda: figures.training_curve([{"step": 1, "reward": 0.5}]),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_have_titles_labels_and_distinct_series(name):
    fig = FIGURES[name]()
    legends = fig.legends + [ax.get_legend() for ax in fig.axes if ax.get_legend()]
    assert legends
    for ax in fig.axes:
        assert ax.get_title(loc="left") and ax.get_xlabel()
    main = fig.axes[0]
    assert main.get_ylabel()
    labelled = [line for line in main.get_lines() if not line.get_label().startswith("_")]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in labelled}
    assert len(looks) == len(labelled)
    assert not np.isnan(np.asarray(fig.get_size_inches())).any()


def test_figures_leave_no_trace_on_the_style_or_on_pyplot():
    before = dict(matplotlib.rcParams)
    for make in FIGURES.values():
        make()
    assert dict(matplotlib.rcParams) == before
    if "matplotlib.pyplot" in sys.modules:
        assert sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_a_plot_is_spoken_policy_by_policy():
    records = [{"policy": p, "size": s, "accuracy": a} for p, s, a in (("rag", 2, 0.5), ("full", 2, 1), ("rag", 4, 0.25))]
    assert figures.spoken(records) == "rag: 0.50 at 2, 0.25 at 4. full: 1.00 at 2"
    assert figures.spoken(records, "size", "d") == "rag: 2 at 2, 4 at 4. full: 2 at 2"


def test_smoothing_never_looks_ahead():
    values = np.array([0.0, 1.0, 2.0, 3.0, 100.0])
    assert figures._running_mean(values, 2).tolist() == [0.0, 0.5, 1.5, 2.5, 51.5]


def test_an_empty_log_says_so():
    with pytest.raises(ValueError, match="train for at least one step"):
        figures.training_curve([{"step": 1, "loss": 0.1}])


def test_show_emits_a_figure_element_with_alternative_text(monkeypatch):
    display_module = pytest.importorskip("IPython.display")
    seen = []
    monkeypatch.setattr(display_module, "display", lambda data, **kwargs: seen.append((data, kwargs)))
    figures.show(FIGURES["survival_curve"](), alt='Trained "keeps" <more> & longer', caption="Survival & <co>")
    (data, kwargs) = seen[0]
    tree = ET.fromstring(data["text/html"].replace('height:auto">', 'height:auto"/>'))
    image = tree.find("img")
    assert tree.tag == "figure" and image.get("alt") == data["text/plain"] == 'Trained "keeps" <more> & longer'
    assert tree.find("figcaption").text == "Survival & <co>"
    assert base64.b64decode(image.get("src").split(",")[1]).startswith(b"\x89PNG")
    assert kwargs["metadata"]["text/html"]["alt"] == data["text/plain"] and kwargs["raw"]
    with pytest.raises(ValueError, match="alternative text"):
        figures.show(FIGURES["survival_curve"](), alt=" ")


def test_show_closes_a_pyplot_figure(monkeypatch):
    pytest.importorskip("IPython")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    monkeypatch.setattr("IPython.display.display", lambda *args, **kwargs: None)
    fig = plt.figure()
    figures.show(fig, alt="an empty figure")
    assert not plt.fignum_exists(fig.number)


def test_alternative_text_survives_nbconvert(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    exporters = pytest.importorskip("nbconvert.exporters")
    code = (
        "import json; import IPython.display as d\n"
        "out = []; d.display = lambda data, metadata, raw: out.append((data, metadata))\n"
        "from memlab.views import figures\n"
        "figures.show(figures.training_curve([{'step': 1, 'reward': 0.5}]), alt='one point', caption='c')\n"
        "print(json.dumps(out[0]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    data, metadata = json.loads(run.stdout)
    output = nbformat.v4.new_output("display_data", data=data, metadata=metadata)
    table_output = nbformat.v4.new_output("execute_result", data={"text/html": trajectory_table(play(STORY, GOLDS))})
    cell = nbformat.v4.new_code_cell("x", outputs=[output, table_output])
    page, _ = exporters.HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert '<img alt="one point" src="data:image/png;base64,' in page
    assert "No description has been provided" not in page
    assert "★ gold lost" in page
