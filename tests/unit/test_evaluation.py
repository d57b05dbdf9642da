"""Numbers that reports rest on."""

import math

import pytest

from memlab import papers
from memlab.episode import Outcome, Trajectory, Turn
from memlab.evaluation import Results, across_seeds, by_position, draw_tasks, summary, survival, wilson
from memlab.memory import TextMemory
from memlab.worlds import Task


def test_wilson_interval_against_published_values():
    lo, hi = wilson(81, 263)  # Newcombe 1998, table I
    assert lo == pytest.approx(0.2553, abs=1e-4) and hi == pytest.approx(0.3662, abs=1e-4)
    assert wilson(0, 20) == (0.0, pytest.approx(0.1611, abs=1e-4))
    assert wilson(200, 200)[1] == 1.0 and wilson(200, 200)[0] > 0.98


def test_across_seeds_is_the_t_interval():
    mean, lo, hi = across_seeds([0.1, 0.2, 0.3, 0.4, 0.5])
    assert mean == pytest.approx(0.3) and hi - mean == pytest.approx(2.776 * 0.158114 / math.sqrt(5), abs=1e-4)
    assert lo == pytest.approx(0.6 - hi)


def test_tasks_depend_on_seed_and_size_alone():
    paper = papers.get("memagent")
    assert draw_tasks(paper, 4, 5, 7) == draw_tasks(paper, 4, 5, 7)
    assert draw_tasks(paper, 4, 5, 7) == draw_tasks(paper, 4, 9, 7)[:5]
    assert draw_tasks(paper, 4, 5, 7) != draw_tasks(paper, 4, 5, 8)


def played(gold_section: int, lost_after: int | None, sections: int = 6) -> Trajectory:
    """A trajectory that holds "g ." from `gold_section` until `lost_after` sections later (None: to the end)."""
    task = Task("q", ("a",), tuple("x ." for _ in range(sections)), ("g .",), (gold_section,))
    memory = TextMemory(10)
    for turn in range(sections):
        held = turn >= gold_section and (lost_after is None or turn - gold_section < lost_after)
        memory.write("x . g ." if held else "x .")
    reward = 1.0 if lost_after is None else 0.0
    return Trajectory(task, [Turn(None, "", 1, 1)], [], Outcome(reward, "", {}, tuple(memory.events)))


def test_survival_counts_only_the_lags_that_a_document_has():
    curve = survival([played(0, None), played(4, None), played(0, 2), played(0, 0)], longest=5)
    assert curve["lags"] == [0, 1, 2, 3, 4, 5]
    assert curve["n"] == [4, 4, 3, 3, 3, 3]
    assert curve["probability"] == pytest.approx([3 / 4, 3 / 4, 1 / 3, 1 / 3, 1 / 3, 1 / 3])


def test_accuracy_by_position():
    bins = by_position([played(0, None), played(0, 1), played(5, None)], bins=2)
    assert [(b["position"], b["n"], b["accuracy"]) for b in bins] == [(0.25, 2, 0.5), (0.75, 1, 1.0)]


def test_results_are_records_that_a_notebook_shows_as_a_table():
    results = Results([{"size": 6} | summary([played(0, None), played(1, None)], 3.0)])
    assert results == [dict(results[0])]
    shown = results._repr_html_()
    assert "<bdi>ci95</bdi>" in shown and "<bdi>0.342 to 1.000</bdi>" in shown
    assert "<table>" in Results()._repr_html_()
