"""HotpotQA: the schema is checked field by field, and no document gives the answer's place away."""

import copy
import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest

from memlab.worlds.lookup import Search
from memlab.worlds.real import hotpotqa
from memlab.worlds.real.hotpotqa import Composed, HotpotQA, load, official, parse

FIXTURE = Path(__file__).parents[1] / "data" / "hotpotqa_invented.json"
RAW = json.loads(FIXTURE.read_text(encoding="utf-8"))
REAL = os.environ.get("MEMLAB_DATA")
WORLDS = [pytest.param(FIXTURE, id="invented")]
WORLDS += [pytest.param(Path(REAL), id="real", marks=pytest.mark.real)] if REAL else []


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    monkeypatch.delenv("MEMLAB_DATA", raising=False)


@pytest.mark.parametrize("path", WORLDS)
@pytest.mark.parametrize("size", [1, 2, 5, 33])
def test_documents_are_what_the_task_says(path, size):
    world = HotpotQA(path=path)
    rng = random.Random(size)
    for _ in range(40):
        task = world.make(rng, size)
        assert len(task.sections) == size
        assert all(0 < len(section.split()) <= world.words_per_section for section in task.sections)
        assert len(task.gold) == len(task.gold_sections) >= 2
        for sentence, section in zip(task.gold, task.gold_sections, strict=True):
            assert sentence in task.sections[section]
            assert sum(sentence in s for s in task.sections) == 1, "a gold sentence stands once"


@pytest.mark.parametrize("path", WORLDS)
def test_gold_position_is_uniform_and_not_tied_to_the_question(path):
    world, rng, size = HotpotQA(path=path), random.Random(0), 8
    counts = Counter(s for _ in range(1000) for s in set(world.make(rng, size).gold_sections))
    expected = sum(counts.values()) / size
    chi_square = sum((counts[s] - expected) ** 2 / expected for s in range(size))
    assert chi_square < 24.3, counts  # 0.1 % point with 7 degrees of freedom
    record = world.records[0]
    assert len({world.task(record, random.Random(seed), size).gold_sections for seed in range(20)}) > 5


@pytest.mark.parametrize("path", WORLDS)
def test_gold_is_not_always_first_in_its_section(path):
    world, rng = HotpotQA(path=path, words_per_section=200), random.Random(1)
    first = []
    for _ in range(300):
        task = world.make(rng, 4)
        passages = task.sections[task.gold_sections[0]].split("\n\n")
        first.append(task.gold[0] in passages[0])
    assert 0.1 < sum(first) / len(first) < 0.9


def test_same_seed_same_task_and_all_records_are_asked():
    world = HotpotQA(path=FIXTURE)
    assert world.make(random.Random(3), 4) == world.make(random.Random(3), 4)
    rng = random.Random(0)
    assert {world.make(rng, 2).question for _ in range(100)} == {r["question"] for r in RAW}


def test_own_distractors_come_before_others_and_foreign_copies_of_gold_stay_out():
    raw = copy.deepcopy(RAW)
    raw[1]["context"].append(
        copy.deepcopy(raw[0]["context"][0])
    )  # another question quotes a gold paragraph of the first
    world = HotpotQA(parse(raw, "test"))
    task = world.task(world.records[0], random.Random(0), 6)
    text = "\n\n".join(task.sections)
    assert all(title in text for title, _ in raw[0]["context"])
    assert text.count(task.gold[0]) == 1


def test_filters_and_skipped():
    assert {r.kind for r in HotpotQA(path=FIXTURE, kinds=("bridge",)).records} == {"bridge"}
    assert all(r.answer != "yes" for r in HotpotQA(path=FIXTURE, yes_no=False).records)
    full, narrow = HotpotQA(path=FIXTURE), HotpotQA(path=FIXTURE, words_per_section=30)
    assert full.skipped == 0 and len(full.records) == len(RAW)
    assert narrow.skipped == len(RAW) - len(narrow.records) > 0
    with pytest.raises(ValueError, match="allow more"):
        HotpotQA(path=FIXTURE, words_per_section=5)
    with pytest.raises(ValueError, match="at least 1 section"):
        full.make(random.Random(0), 0)


def test_source_is_said(monkeypatch, tmp_path):
    (tmp_path / "hotpotqa").mkdir()
    file = tmp_path / "hotpotqa" / "train.json"
    file.write_text(json.dumps(RAW))
    monkeypatch.setenv("MEMLAB_DATA", str(tmp_path))
    world = HotpotQA()
    assert world.source == str(file) and str(file) in repr(world)
    assert HotpotQA(path=FIXTURE).source == str(FIXTURE), "an argument wins over the environment"


def test_nothing_found_says_what_to_run(monkeypatch, tmp_path):
    with pytest.raises(FileNotFoundError, match="python -m memlab.worlds.real.hotpotqa --download"):
        load()
    monkeypatch.setenv("MEMLAB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="python -m memlab.worlds.real.hotpotqa --download"):
        load()


def test_two_files_are_not_mixed(tmp_path):
    for name in ("train.json", "dev.json"):
        (tmp_path / name).write_text(json.dumps(RAW))
    with pytest.raises(ValueError, match=r"dev\.json, train\.json"):
        load(tmp_path)


def test_hub_is_asked_only_when_told(monkeypatch):
    rows = [
        {
            "id": r["_id"],
            **{k: r[k] for k in ("question", "answer", "type", "level")},
            "supporting_facts": dict(zip(("title", "sent_id"), zip(*r["supporting_facts"], strict=True), strict=True)),
            "context": dict(zip(("title", "sentences"), zip(*r["context"], strict=True), strict=True)),
        }
        for r in RAW
    ]
    monkeypatch.setattr(hotpotqa, "_download", lambda split: [official(row) for row in rows])
    records = load(download=True)
    assert records[0].source == "hub:hotpotqa/hotpot_qa distractor validation"
    strip = [(r.id, r.supporting, r.context) for r in records]
    assert strip == [(r.id, r.supporting, r.context) for r in load(FIXTURE)]


def _set(field, value):
    return lambda r: r.update({field: value})


@pytest.mark.parametrize(
    "damage, field",
    [
        (lambda r: r.pop("_id"), "_id"),
        (lambda r: r.pop("question"), "question"),
        (_set("answer", ""), "answer"),
        (_set("answer", 7), "answer"),
        (_set("type", "trivia"), "type"),
        (_set("context", []), "context"),
        (_set("context", {"title": []}), "context"),
        (lambda r: r["context"].__setitem__(1, ["title only"]), r"context\[1\]"),
        (lambda r: r["context"].__setitem__(1, ["t", ["a", None]]), r"context\[1\]"),
        (lambda r: r["context"].append(r["context"][0]), r"context\[\d\]"),
        (_set("supporting_facts", []), "supporting_facts"),
        (_set("supporting_facts", [["no such title", 0]]), r"supporting_facts\[0\]"),
        (lambda r: r["supporting_facts"][1].__setitem__(1, 99), r"supporting_facts\[1\]"),
        (lambda r: r["supporting_facts"][1].__setitem__(1, -1), r"supporting_facts\[1\]"),
        (lambda r: r["supporting_facts"][1].__setitem__(1, "0"), r"supporting_facts\[1\]"),
    ],
)
def test_malformed_records_are_named(tmp_path, damage, field):
    raw = copy.deepcopy(RAW)
    damage(raw[2])
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=rf"bad\.json, record 2: field '{field}'"):
        load(file)
    assert len(load(file, skip_malformed=True)) == len(RAW) - 1


def test_a_file_cut_short_is_named(tmp_path):
    file = tmp_path / "cut.json"
    file.write_text(FIXTURE.read_text()[:500])
    with pytest.raises(ValueError, match=r"cut\.json is not valid JSON"):
        load(file)
    file.write_text("{}")
    with pytest.raises(ValueError, match="non-empty JSON list"):
        load(file)


@pytest.mark.parametrize("path", WORLDS)
def test_composed_questions_can_be_searched_for(path):
    world = Composed(path=path)
    rng = random.Random(3)
    for size in (1, 2, min(8, len(world.records))):
        task = world.make(rng, size)
        assert len(set(task.questions)) == len(task.answers) == size
        assert all(sum(sentence in document for document in task.documents) >= 1 for sentence in task.gold)
        assert len(set(task.documents)) == len(task.documents) >= 2 * size
        titles = [document.split("\n")[0] for document in task.documents]
        assert all(Search(task.documents)(title).startswith(title) for title in titles[:3] if titles.count(title) == 1)
    with pytest.raises(ValueError, match="each is asked once"):
        world.make(rng, len(world.records) + 1)
