"""LoCoMo and LongMemEval: the released files' irregularities are read as meant, and a damaged file says what is wrong."""

import copy
import json
import os
from collections import Counter
from datetime import datetime
from pathlib import Path
from statistics import fmean

import pytest

from memlab.worlds.real.conversations import NOT_MENTIONED, SPLITS, Fact, Question, Turn, locomo, longmemeval

DIALOGUE = {
    "sample_id": "conv-26",
    "conversation": {
        "speaker_a": "Mira",
        "speaker_b": "Tom",
        "session_2_date_time": "9:00 am on 3 June, 2023",
        "session_2": [{"speaker": "Tom", "dia_id": "D2:1", "text": "Hi Mira! \n"}],
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [
            {"speaker": "Mira", "dia_id": "D1:1", "text": "Look, my dog!", "blip_caption": "a photo of a dog"},
            {"speaker": "Tom", "dia_id": "D1:2", "text": "Nice. I moved to Rome."},
        ],
        "session_3_date_time": "7:55 pm on 9 June, 2023",
    },
    "observation": {
        "session_1_observation": {
            "Mira": [["Mira's dog is known to Tom.", ["D1:1", "D1:2"]], ["Mira has a dog.", "D1:1"]],
            "Tom": [["Tom moved to Rome.", "D1:2"]],
        },
        "session_2_observation": {"Tom": [["Tom greets Mira.", "D1:2, D2:1"]]},
    },
    "qa": [
        {"question": "How many dogs has Mira? ", "answer": 1, "evidence": ["D1:1; D2:01", "D:1:2"], "category": 1},
        {"question": "Where is Tom?", "answer": " Rome", "evidence": ["D9:9", "D", "D1:2", "D1:2"], "category": 4},
        {"question": "Where is Mira?", "adversarial_answer": "Rome", "evidence": ["D1:2"], "category": 5},
        {"question": "Is it a cat?", "adversarial_answer": "Yes", "answer": "No", "evidence": [], "category": 5},
    ],
}

INSTANCE = {
    "question_id": "invented_abs",
    "question_type": "knowledge-update",
    "question": "How many dogs do I have?",
    "answer": 2,
    "question_date": "2023/06/01 (Thu) 00:58",
    "haystack_dates": ["2023/05/27 (Sat) 10:20", "2023/05/25 (Thu) 20:21"],
    "haystack_session_ids": ["late", "early"],
    "haystack_sessions": [
        [{"role": "user", "content": "A second dog came.", "has_answer": True}, {"role": "assistant", "content": "Oh. Two!"}],
        [{"role": "assistant", "content": "Hello."}, {"role": "user", "content": "I have a dog. Her name is Luna."}],
    ],
}


@pytest.fixture
def write(monkeypatch, tmp_path):
    """Writes a data set's file to a folder that MEMLAB_DATA names."""
    monkeypatch.setenv("MEMLAB_DATA", str(tmp_path))

    def write(name, data):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(data if isinstance(data, str) else json.dumps(data))
        return str(file)

    return write


def test_a_locomo_conversation(write):
    file = write("locomo/locomo10.json", [DIALOGUE])
    (conversation,) = locomo()
    assert conversation.name == "conv-26" and conversation.source == file
    first, second = conversation.sessions  # in the order of their numbers; the third has a date only
    assert first.date == "1:56 pm on 8 May, 2023" and second.turns == (Turn("Tom", "D2:1", "Hi Mira!"),)
    assert first.turns[0] == Turn("Mira", "D1:1", "Look, my dog! [shared a photo of a dog]")
    assert conversation.facts == (
        Fact(0, "Mira", "Mira has a dog.", ("D1:1",)),
        Fact(0, "Mira", "Mira's dog is known to Tom.", ("D1:1", "D1:2")),  # known from the second turn on
        Fact(0, "Tom", "Tom moved to Rome.", ("D1:2",)),
        Fact(1, "Tom", "Tom greets Mira.", ("D1:2", "D2:1")),
    )
    assert conversation.questions == (
        Question("How many dogs has Mira?", "1", "1", ("D1:1", "D2:1", "D1:2")),
        Question("Where is Tom?", "Rome", "4", ("D1:2",)),
        Question("Where is Mira?", NOT_MENTIONED, "5", ("D1:2",), adversarial="Rome"),
        Question("Is it a cat?", "No", "5", (), adversarial="Yes"),
    )


def test_splits_leave_category_5_out_and_miss_no_conversation(write):
    write("locomo/locomo10.json", [DIALOGUE])
    (conversation,) = locomo("train")
    assert [q.category for q in conversation.questions] == ["1", "4"]
    with pytest.raises(ValueError, match=r"locomo10\.json lacks conv-30 of the validation split; download it again: curl"):
        locomo("validation")
    with pytest.raises(ValueError, match="no split 'dev'; choose all, train, validation, test"):
        locomo("dev")
    assert len({name for names in SPLITS.values() for name in names}) == 10


def test_a_longmemeval_instance(write):
    file = write("longmemeval/longmemeval_oracle.json", [INSTANCE])
    (conversation,) = longmemeval()
    assert conversation.name == "invented_abs" and conversation.source == file
    assert [s.date for s in conversation.sessions] == ["2023/05/25 (Thu) 20:21", "2023/05/27 (Sat) 10:20"]
    assert conversation.sessions[1].turns[1] == Turn("assistant", "late_2", "Oh. Two!")
    assert conversation.facts == (
        Fact(0, "user", "I have a dog.", ("early_2",)),
        Fact(0, "user", "Her name is Luna.", ("early_2",)),
        Fact(1, "user", "A second dog came.", ("late_1",)),
    )
    asked = Question("How many dogs do I have?", "2", "knowledge-update", ("late_1",), date="2023/06/01 (Thu) 00:58")
    assert conversation.questions == (asked,)


@pytest.mark.parametrize("load", [locomo, longmemeval])
def test_nothing_found_says_what_to_run(monkeypatch, tmp_path, load):
    monkeypatch.delenv("MEMLAB_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="MEMLAB_DATA is not set; download it with: curl .*export MEMLAB_DATA"):
        load()
    monkeypatch.setenv("MEMLAB_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"there is no {load.__name__}/.*json in .*; download it with: curl"):
        load()


def test_two_files_are_not_mixed(write):
    write("longmemeval/oracle.json", [INSTANCE])
    write("longmemeval/s.json", [INSTANCE])
    with pytest.raises(ValueError, match=r"more than one JSON file \(oracle\.json, s\.json\)"):
        longmemeval()


@pytest.mark.parametrize("data, wrong", [("[{", "is not valid JSON"), ("[]", "non-empty list"), ("{}", "not dict")])
def test_a_file_cut_short_is_named(write, data, wrong):
    for name, load in (("locomo/locomo10.json", locomo), ("longmemeval/oracle.json", longmemeval)):
        write(name, data)
        with pytest.raises(ValueError, match=rf"{Path(name).name} .*{wrong}.*download .* again: curl"):
            load()


@pytest.mark.parametrize(
    "damage, wrong",
    [
        (lambda d: d.pop("sample_id"), "record 0: field 'sample_id' should be str, not NoneType"),
        (lambda d: d.pop("conversation"), "conv-26: field 'conversation' should be dict"),
        (lambda d: d["conversation"].pop("session_2_date_time"), "conv-26: field 'session_2_date_time' should be str"),
        (lambda d: d["conversation"].update(session_1="cut"), "conv-26: field 'session_1' should be list, not str"),
        (lambda d: d["conversation"]["session_1"][1].pop("dia_id"), "conv-26, session_1: field 'dia_id'"),
        (lambda d: d["conversation"]["session_1"][1].pop("text"), "session_1, D1:2: field 'text' should be str"),
        (lambda d: d["conversation"]["session_1"].append("cut"), "session_1: field 'dia_id' should be str"),
        (lambda d: d["observation"].pop("session_1_observation"), "field 'session_1_observation' should be dict"),
        (lambda d: d["observation"]["session_2_observation"].update(Tom=None), "session_2_observation: field 'Tom'"),
        (lambda d: d["observation"]["session_2_observation"]["Tom"].append(["cut"]), r"a fact should be .*not \['cut'\]"),
        (lambda d: d["qa"][1].pop("answer"), "question 1: field 'answer' should be str or int"),
        (lambda d: d["qa"][2].pop("adversarial_answer"), "question 2: field 'adversarial_answer'"),
        (lambda d: d["qa"][1].update(evidence=None), "question 1: field 'evidence' should be list"),
        (lambda d: d["qa"][1].update(category=6), "question 1: field 'category' should be 1 to 5, not 6"),
    ],
)
def test_a_malformed_locomo_file_says_where(write, damage, wrong):
    raw = copy.deepcopy(DIALOGUE)
    damage(raw)
    file = write("locomo/locomo10.json", [raw])
    with pytest.raises(ValueError, match=rf"{file}, .*{wrong}.*; download the file again: curl"):
        locomo()


@pytest.mark.parametrize(
    "damage, wrong",
    [
        (lambda d: d.pop("question_id"), "record 0: field 'question_id' should be str"),
        (lambda d: d.pop("haystack_dates"), "invented_abs: field 'haystack_dates' should be list"),
        (lambda d: d["haystack_dates"].pop(), "invented_abs: haystack_dates, _session_ids and _sessions should be"),
        (lambda d: d["haystack_sessions"].__setitem__(0, "cut"), "lists of one length, a session a list"),
        (lambda d: d["haystack_sessions"][0][1].pop("content"), "late, turn 2: field 'content' should be str"),
        (lambda d: d.pop("answer"), "field 'answer' should be str or int"),
    ],
)
def test_a_malformed_longmemeval_file_says_where(write, damage, wrong):
    raw = copy.deepcopy(INSTANCE)
    damage(raw)
    file = write("longmemeval/oracle.json", [raw])
    with pytest.raises(ValueError, match=rf"{file}, .*{wrong}.*; download the file again: curl"):
        longmemeval()


def released(pattern):
    """Marks for a test that reads a released file: it needs one under MEMLAB_DATA."""
    found = any(Path(os.environ.get("MEMLAB_DATA") or os.devnull).glob(pattern))
    return lambda test: pytest.mark.real(pytest.mark.skipif(not found, reason=f"no {pattern} under MEMLAB_DATA")(test))


LOCOMO = released("locomo/locomo10.json")


@LOCOMO
@pytest.mark.parametrize(
    "split, conversations, counts",
    [
        ("all", 10, {"1": 282, "2": 321, "3": 96, "4": 841, "5": 446}),
        ("train", 1, {"1": 32, "2": 37, "3": 13, "4": 70}),
        ("validation", 1, {"1": 11, "2": 26, "4": 44}),
        ("test", 8, {"1": 239, "2": 258, "3": 83, "4": 727}),
    ],
)
def test_locomo_counts(split, conversations, counts):
    read = locomo(split)
    assert len(read) == conversations
    assert Counter(q.category for c in read for q in c.questions) == counts
    assert sum(counts.values()) == {"all": 1986, "train": 152, "validation": 81, "test": 1307}[split]


@LOCOMO
def test_locomo_sessions_and_facts():
    read = locomo()
    assert [len(c.sessions) for c in read] == [19, 19, 32, 29, 29, 28, 31, 30, 25, 30]
    turns = [turn for c in read for s in c.sessions for turn in s.turns]
    assert len(turns) == 5882 and sum("[shared " in turn.text for turn in turns) == 1226
    assert [len(c.facts) for c in read] == [184, 169, 324, 266, 267, 277, 268, 291, 240, 255]
    assert fmean(len(f.text.split()) for c in read for f in c.facts) == pytest.approx(14.8, abs=0.05)
    for c in read:
        dates = [datetime.strptime(s.date, "%I:%M %p on %d %B, %Y") for s in c.sessions]
        assert dates == sorted(dates)
        speakers = {turn.speaker for s in c.sessions for turn in s.turns}
        assert len(speakers) == 2 and {f.speaker for f in c.facts} == speakers
        at = {turn.id: (i, j) for i, s in enumerate(c.sessions) for j, turn in enumerate(s.turns)}
        assert len(at) == sum(len(s.turns) for s in c.sessions), "an id names one turn"
        assert all(f.evidence and {at[id][0] for id in f.evidence} == {f.session} for f in c.facts)
        known = [max(at[id] for id in f.evidence) for f in c.facts]
        assert known == sorted(known)
        assert all(id in at for q in c.questions for id in q.evidence)


@LOCOMO
def test_locomo_irregular_entries():
    read = {c.name: c for c in locomo()}
    questions = [q for c in read.values() for q in c.questions]
    assert all(q.text and q.answer for q in questions)
    assert sum(q.category == "5" and q.answer == NOT_MENTIONED for q in questions) == 444
    assert [q.answer for q in questions if q.category == "5" and q.answer != NOT_MENTIONED] == ["No", "No"]
    assert all(bool(q.adversarial) == (q.category == "5") for q in questions)
    by_text = {q.text: q for q in read["conv-26"].questions}
    assert by_text["When did Melanie paint a sunrise?"].answer == "2022"  # an integer in the file
    evidence = [q.evidence for c in ("conv-26", "conv-43", "conv-49", "conv-50") for q in read[c].questions]
    assert ("D8:6", "D9:17") in evidence  # "D8:6; D9:17"
    assert ("D9:1", "D4:4", "D4:6") in evidence  # "D9:1 D4:4 D4:6"
    assert any("D11:26" in ids for ids in evidence) and any("D30:5" in ids for ids in evidence)  # D:11:26, D30:05
    assert sum(not q.evidence for q in questions) == 4  # as in the file
    assert {len(f.evidence) for c in read.values() for f in c.facts} == {1, 2, 3, 4}


@LOCOMO
def test_how_much_the_facts_cover():
    covered = asked = 0
    for c in locomo("train") + locomo("validation") + locomo("test"):
        held = {id for f in c.facts for id in f.evidence}
        covered += sum(bool(q.evidence) and held.issuperset(q.evidence) for q in c.questions)
        asked += len(c.questions)
    assert (asked, asked - covered) == (1540, 401)


@released("longmemeval/*.json")
def test_longmemeval_as_released():
    read = {c.name: c for c in longmemeval()}
    for c in read.values():
        when = [datetime.strptime(s.date, "%Y/%m/%d (%a) %H:%M") for s in c.sessions]
        assert when == sorted(when) and datetime.strptime(c.questions[0].date, "%Y/%m/%d (%a) %H:%M")
        assert {turn.speaker for s in c.sessions for turn in s.turns} == {"user", "assistant"}
        assert set(c.questions[0].evidence) <= {turn.id for s in c.sessions for turn in s.turns}
        assert c.facts and all(f.speaker == "user" and f.text for f in c.facts)
    run = read["6a1eabeb"]
    assert run.questions[0].answer == "25 minutes and 50 seconds (or 25:50)" and run.questions[0].category == "knowledge-update"
    assert any("25:50" in f.text and f.evidence[0] in run.questions[0].evidence for f in run.facts)
    assert "did not mention" in read["gpt4_70e84552_abs"].questions[0].answer
