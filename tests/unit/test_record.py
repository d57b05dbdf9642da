"""The recorded runs of a paper: what is made of each part, and that a finished part is kept."""

import json
from dataclasses import replace
from functools import partial

import pytest

from memlab import contenders
from memlab.episode import Ask, Outcome
from memlab.papers import Stage
from memlab.training import record
from memlab.training.train import read_log
from tests import toys


def episode(task, word="a"):
    """One turn: right if it says `word`."""
    text = yield Ask(f"{task.words[0]} :", 4)
    return Outcome(float(text == word), text)


SECOND = Stage("second", lambda freeze, start, out: {"episode": partial(episode, word="b")})
PAPER = replace(
    toys.TOY,
    episode=episode,
    baselines={"other": partial(episode, word="b")},
    learned={"other": "other-0"},
    ablations={"cut": {"rows": lambda trajectory, tokenizer: trajectory.rows[-1:]}, "twice": {}},
    variants={"twice": (Stage(), SECOND)},
    warmstart={"tasks": 64, "learning_rate": 1e-2},
    train_steps=2,
    tasks_scale=0.25,
    record_sizes=(1,),
)


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(contenders, "RUNS", tmp_path)
    return tmp_path / "toy"


def test_every_part_begins_where_it_should(runs):
    record.warmstart(PAPER)
    record.trained(PAPER, 3)
    record.baseline(PAPER, "other")
    record.ablation(PAPER, "cut")
    record.ablation(PAPER, "twice")
    record.sft_oracle(PAPER, 1)
    have = {str(path.relative_to(runs).parent) for path in runs.rglob("policy")}
    assert have == {"warmstart", "trained-3", "other-0", "cut-0", "twice-0", "twice-0/second", "sft-oracle-1"}
    assert not list(runs.rglob("checkpoints"))
    of = lambda name: json.loads((runs / name / "run.json").read_text())  # noqa: E731
    assert of("trained-3")["settings"]["seed"] == 3 and of("other-0")["settings"]["tasks"] == 4
    assert [len(read_log(runs / name / "log.jsonl")) for name in ("trained-3", "twice-0", "twice-0/second")] == [2, 2, 2]


def test_the_band_is_of_finished_runs_and_ends_with_the_shortest(runs):
    for name, rewards in {"trained-0": (0.1, 0.5, 0.9), "trained-1": (0.3, 0.2), "trained-2": (0.0,)}.items():
        (runs / name / ("" if name == "trained-2" else "policy")).mkdir(parents=True)  # the last one was cut short
        (runs / name / "log.jsonl").write_text("".join(json.dumps({"reward": r}) + "\n" for r in rewards))
    assert contenders.recorded_band(PAPER) == ([1, 2], [0.1, 0.2], [0.3, 0.5])
    assert contenders.recorded_band(replace(PAPER, name="nobody")) == ([], [], [])


def test_results_go_on_where_they_stopped(runs):
    record.warmstart(PAPER)
    for part in ("other", "cut", "twice"):
        (record.baseline if part == "other" else record.ablation)(PAPER, part)
    record.trained(PAPER, 0)
    record.results(PAPER, n=4)
    path = runs / "results.json"
    whole = json.loads(path.read_text())
    assert {r["policy"] for r in whole} == {"random", "oracle", "untrained", "warmstart", "other", "cut", "twice", "trained-0"}
    path.write_text(json.dumps(whole[:3]))
    record.results(PAPER, n=4)
    again = json.loads(path.read_text())
    drop = lambda r: {k: v for k, v in r.items() if k != "latency_s"}  # noqa: E731
    assert list(map(drop, again)) == list(map(drop, whole)) and again[:3] == whole[:3]


def test_results_in_another_world_stand_beside_the_first(runs):
    class Elsewhere:
        name = "elsewhere"
        asked = 0

        def make(self, rng, size):
            self.asked += 1
            return PAPER.world.make(rng, size)

    record.warmstart(paper := replace(PAPER, worlds={"elsewhere": Elsewhere()}, baselines={}, learned={}, ablations={}))
    record.results(paper, n=4, world="elsewhere")
    assert paper.worlds["elsewhere"].asked == 4 * 4 and not (runs / "results.json").exists()
    results = json.loads((runs / "results-elsewhere.json").read_text())
    assert [r["policy"] for r in results] == ["random", "oracle", "untrained", "warmstart"]
