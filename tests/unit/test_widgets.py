"""Reward explorer, live board and cost dial, without a browser; and what all widgets promise."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlab.views import cost
from memlab.views.board import POINTS, LiveBoard, band_at, board_state
from memlab.views.cost import CostDial, bill, dollars, monthly, tokens_read
from memlab.views.rewards import RewardExplorer, credit
from memlab.views.widget import STATIC
from tests.browser.stories import band, before_and_after, group, log

# ---------------------------------------------------------------- rewards


def test_credit_is_the_trainers():
    rows = credit([1.0, 0.0, 0.0, 1.0], [10, 30, 40, 20])
    assert [r["advantage"] for r in rows] == [0.5, -0.5, -0.5, 0.5]
    assert [r["each"] for r in rows] == [0.005, -0.005, -0.005, 0.005] and rows[2]["all"] == pytest.approx(-0.2)
    scaled = credit([1.0, 0.0, 0.0, 0.0], [1] * 4, "group")
    assert scaled[0]["advantage"] == pytest.approx(0.75 / (0.5 + 1e-4))
    assert all(r["advantage"] == 0 for r in credit([0.3] * 4, [5] * 4))
    with pytest.raises(ValueError, match="no token"):
        credit([1.0, 0.0], [0, 0])


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_advantages_sum_to_nothing(rewards):
    assert sum(r["advantage"] for r in credit(rewards, [3] * len(rewards))) == pytest.approx(0, abs=1e-9)


def test_reward_explorer_takes_edits_and_ignores_nonsense():
    shown = RewardExplorer(group())
    assert [r["advantage"] for r in shown.rows] == [-0.5, 0.5, -0.5, 0.5]
    shown._edit({"rewards": [1, 1, 0, 1], "scale": "none"})
    assert [r["advantage"] for r in shown.rows] == [0.25, 0.25, -0.75, 0.25]
    kept = shown.rows
    lists = ([1], [1, 1, 1, math.nan], ["1"] * 4, [1e300] * 4)
    for nonsense in (None, {}, {"rewards": [1] * 4, "scale": "x"}, *({"rewards": r, "scale": "none"} for r in lists)):
        shown._edit(nonsense)
    assert shown.rows == kept
    html = shown._repr_mimebundle_()[0]["text/html"]
    assert "weight of each token" in html and "-0.75" in html
    _, before, *_ = before_and_after()
    with pytest.raises(ValueError, match="at least 2"):
        RewardExplorer([before])


# ---------------------------------------------------------------- cost


def test_the_articles_sum():
    assert monthly(0.14, employees=3000, a_day=10) == 126_000
    full = bill()[0]
    assert full["tokens"] == 56_000 and full["conversation"] == pytest.approx(0.14) and full["month"] == 126_000


@given(st.integers(1, 200), st.integers(50, 10_000), st.integers(500, 64_000))
def test_tokens_read(turns, tokens, window):
    assert tokens_read(turns, tokens) == tokens * turns * (turns + 1) / 2
    assert tokens_read(turns, tokens, window) == sum(min(t * tokens, window) for t in range(1, turns + 1))


def test_growth():
    full, window, memory = (lambda t: bill({"m": 40}, turns=t)[0]["tokens"]), (lambda t: bill(turns=t)[1]["tokens"]), (
        lambda t: bill({"m": 40}, turns=t)[2]["tokens"])  # fmt: skip
    assert full(200) / full(100) == pytest.approx(4, rel=0.01), "the square of the turns"
    assert window(200) / window(100) == pytest.approx(2, rel=0.02) and memory(200) == 2 * memory(100)
    assert dollars(1e6, 2.5) == 2.5


def test_cost_dial_takes_its_dials_and_ignores_nonsense():
    dial = CostDial({"MemAgent": 40}, turns=10)
    assert [r["policy"] for r in dial.rows] == ["full context", "window of 4,000", "MemAgent"]
    dial._turn({"dials": cost.DEFAULT | {"turns": 8}})
    assert dial.rows[0]["month"] == 162_000 and dial.dials["turns"] == 8
    for nonsense in (
        None,
        {},
        {"dials": 3},
        {"dials": {"turns": 1e9}},
        {"dials": {"x": 1}},
        {"dials": {"turns": "many"}},
        {"dials": {"turns": math.nan}},
    ):
        dial._turn(nonsense)
    assert dial.dials["turns"] == 8
    html = dial._repr_mimebundle_()[0]["text/html"]
    assert "$162,000" in html and "square" in html
    with pytest.raises(ValueError, match="turns is 0"):
        bill(turns=0)
    with pytest.raises(ValueError, match="no dial"):
        bill(speed=1)


# ---------------------------------------------------------------- board


def write(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def test_board_survives_a_kernel_restart(tmp_path):
    path = tmp_path / "log.jsonl"
    board = LiveBoard(path, band(), steps=200)
    assert board.state["note"] == "no step yet" and "no step yet" in board.fallback()
    with path.open("a") as file:
        for record in log(120):
            file.write(json.dumps(record) + "\n")
            board(record)
    board.draw()
    again = LiveBoard(path, band(), steps=200)  # another kernel
    assert again.state == board.state and again.state["note"].startswith("step 120 of 200, 24 s, mean reward")
    write(path, log(150))  # another process trained on
    again.refresh()
    assert again.state["note"].startswith("step 150 of 200")


def test_a_resumed_run_replaces_the_steps_it_repeats(tmp_path):
    board = LiveBoard(tmp_path / "log.jsonl")
    for step in (1, 2, 3, 4, 3):
        board({"step": step, "reward": 0.5})
    assert [r["step"] for r in board.records] == [1, 2, 3]


def test_two_updates_a_second_at_most(tmp_path, monkeypatch):
    now, drawn = [100.0], []
    monkeypatch.setattr("memlab.views.board.time.monotonic", lambda: now[0])
    board = LiveBoard(tmp_path / "log.jsonl", steps=100)
    board.observe(lambda change: drawn.append(now[0]), "state")
    for record in log(100):
        now[0] += 0.03
        board(record)
    assert len(drawn) <= 2 * 3 + 1 + 1 and drawn[-1] == now[0], "the last step is always drawn"
    assert board.state["note"].startswith("step 100 of 100")


def test_board_state():
    records = log(1000)
    state = board_state(records, band(1000), 1000)
    assert len(state["reward"]["x"]) == len(state["band"]["x"]) == POINTS and state["reward"]["x"][-1] == 1000
    assert [h["title"] for h in state["health"]] == [
        "Groups with zero spread",
        "Entropy (nats per token)",
        "Completions cut off",
    ]
    assert state["window"] == 50 and state["alarms"] == ["nearly all groups have equal rewards: little to learn from"]
    assert len(json.dumps(state, allow_nan=False)) < 60_000
    odd = [{"step": 1, "reward": None, "entropy": None}, {"step": 2, "reward": 0.5, "entropy": math.nan}]
    assert json.dumps(board_state(odd), allow_nan=False) and board_state([])["note"] == "no step yet"


def test_band_at():
    assert (
        band_at(([1, 2, 3], [0, 0.1, 0.2], [1, 1, 1]), 2) == (0.1, 1) and band_at(([1, 2], [0, 0], [1, 1]), 9) is None
    )
    assert band_at(None, 1) is None


def test_the_boards_table_has_the_band_and_the_last_step(tmp_path):
    path = tmp_path / "log.jsonl"
    write(path, log(200))
    html = LiveBoard(path, band(), 200)._repr_mimebundle_()[0]["text/html"]
    assert (
        "recorded runs" in html and ">200<" in html and "Groups with zero spread" in html and html.count("<tr>") <= 15
    )


# ---------------------------------------------------------------- all of them


def test_no_script_parses_html_and_nothing_is_fetched():
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser", text
        ), path.name
        assert not re.search(r"\bfetch\(|XMLHttpRequest|@import|url\(|import\(|^import ", text, re.MULTILINE), path.name
        assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}, path.name
