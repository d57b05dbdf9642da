"""What the command line prints, and that every mistake ends in one sentence and the way out of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import typer
from transformers.utils import logging

from memlab import cli, contenders, doctor, evaluation, papers
from memlab.policies import pretrained
from memlab.training import train as training
from memlab.training.pretrain import build_tokenizer, vocabulary
from tests import toys

MEMAGENT = papers.get("memagent")
NAMES = contenders.names(MEMAGENT)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Stands for data/: a random tiny model, and other random ones as the recorded runs."""
    data, tokenizer = tmp_path_factory.mktemp("data"), build_tokenizer(vocabulary())

    def save(directory, seed):
        training.save_policy(toys.model(seed, vocab_size=len(tokenizer)), tokenizer, directory)

    save(data / "tiny", 0)
    (data / "tiny" / "manifest.json").rename(data / "tiny" / "provenance.json")
    for seed, name in enumerate(contenders.RECORDED.values(), 1):
        (data / "runs" / "memagent" / name).mkdir(parents=True)
        save(data / "runs" / "memagent" / name / "policy", seed)
    return data


@pytest.fixture
def memlab(weights, monkeypatch, capsys):
    """memlab(*arguments) -> (exit code, stdout, stderr)"""
    monkeypatch.setattr(pretrained, "TINY", weights / "tiny")
    monkeypatch.setattr(contenders, "RUNS", weights / "runs")
    logging.disable_progress_bar()  # as cli's environment variables do in a process of its own
    logging.set_verbosity_error()

    def call(*args):
        monkeypatch.setattr(sys, "argv", ["memlab", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        (out, err), code = capsys.readouterr(), end.value.code
        return (1, out, err + code) if isinstance(code, str) else (code or 0, out, err)

    yield call
    logging.enable_progress_bar()
    logging.set_verbosity_warning()


def evaluated(memlab, *args):
    code, out, err = memlab("eval", "memagent", "--json", *args)
    assert code == 0, err
    return json.loads(out)


def without_latency(record):
    return [{k: v for k, v in r.items() if k != "latency_s"} for r in record["results"]]


# ---------------------------------------------------------------- eval


def test_eval_prints_one_json_object_with_everything_a_table_needs(memlab):
    code, out, _ = memlab("eval", "memagent", "--policy", "trained", "--sizes", "1,3", "-n", 5, "--seed", 7, "--json")
    assert code == 0 and len(out.splitlines()) == 1
    record = json.loads(out)
    assert list(record) == ["paper", "policy", "world", "model", "seed", "n", "commit", "results"]
    assert (record["paper"], record["policy"], record["world"], record["seed"], record["n"]) == (
        "memagent",
        "trained",
        "documents",
        7,
        5,
    )
    assert record["model"].endswith(os.path.join("runs", "memagent", "trained-0", "policy"))
    assert [r["size"] for r in record["results"]] == [1, 3]
    for r in record["results"]:
        assert list(r)[1:] == [
            "accuracy",
            "ci95",
            "f1",
            "peak_context_tokens",
            "largest_context_tokens",
            "total_tokens",
            "generated_tokens",
            "latency_s",
            "f1_ci95",
        ]
        low, high = r["ci95"]
        assert 0 <= low <= r["accuracy"] <= high <= 1 and r["accuracy"] <= r["f1"] <= 1
        assert r["peak_context_tokens"] <= r["largest_context_tokens"]
        assert 0 < r["peak_context_tokens"] <= r["total_tokens"] and 0 < r["generated_tokens"] < r["total_tokens"]
        assert r["latency_s"] > 0


def test_eval_asks_in_another_world_of_the_paper(memlab):
    args = ("eval", "memory_r1", "--policy", "oracle", "--sizes", "1", "-n", 3, "--json")
    records = [json.loads(memlab(*args, *world)[1]) for world in ((), ("--world", "reworded"))]
    assert [r["world"] for r in records] == ["dialogues", "reworded"]
    assert records[0]["results"][0]["total_tokens"] < records[1]["results"][0]["total_tokens"], "ten messages a session, not six"
    code, _, err = memlab("eval", "memory_r1", "--policy", "oracle", "--world", "mars")
    assert code and "there is no world 'mars'; choose one of: reworded, english" in err


def test_eval_prints_a_table_that_says_what_it_shows(memlab):
    code, out, _ = memlab("eval", "memagent", "--policy", "oracle", "--sizes", "2", "-n", 4, "--seed", 3)
    caption, header, _, row = out.strip().splitlines()
    assert code == 0 and "MemAgent, oracle, n = 4, seed 3" in caption and "sections" in caption
    assert header.split() == [
        "size",
        "accuracy",
        "ci95",
        "f1",
        "peak_context_tokens",
        "largest_context_tokens",
        "total_tokens",
        "generated_tokens",
        "latency_s",
    ]
    assert row.split()[:2] == ["2", "1.000"], "the oracle is always right"


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_numbers_for_every_policy(name, memlab):
    args = ("--policy", name, "--sizes", "1,3", "-n", 4, "--seed", 11)
    first = evaluated(memlab, *args)
    assert without_latency(first) == without_latency(evaluated(memlab, *args))
    assert (first["model"] is None) == (name in ("random", "oracle"))


def test_policies_with_one_seed_are_asked_the_same_questions_and_another_seed_asks_others(memlab, monkeypatch):
    asked, run = [], evaluation.run
    monkeypatch.setattr(evaluation, "run", lambda *args: asked.append(run(*args)) or asked[-1])
    for name, seed in (("untrained", 0), ("random", 0), ("empty", 0), ("random", 1)):
        evaluated(memlab, "--policy", name, "--sizes", "3", "-n", 6, "--seed", seed)
    untrained, rule, baseline, other = [[t.task for t in trajectories] for trajectories, _ in asked]
    assert untrained == rule == baseline
    assert not any(task in untrained for task in other)


def test_any_seed_and_any_size_work(memlab):
    seen = set()
    for seed in (0, -1, 2**40, 2**70):
        for name in ("untrained", "random"):
            record = evaluated(memlab, "--policy", name, "--sizes", "1,3,7", "-n", 2, "--seed", seed)
            assert record["seed"] == seed and [r["size"] for r in record["results"]] == [1, 3, 7]
        seen.add(json.dumps(without_latency(record)))
    assert len(seen) == 4


# ---------------------------------------------------------------- train, then eval


def test_train_then_eval_the_directory_it_names(memlab, tmp_path):
    run = tmp_path / "run"
    code, out, _ = memlab("train", "memagent", "--preset", "smoke", "--steps", 2, "--seed", 5, "--out", run)
    assert code == 0 and f"memlab eval memagent --policy {run}" in out
    assert "2 steps of 4 x 4 rollouts, seed 5" in out
    record = json.loads((run / "run.json").read_text())
    assert (record["paper"], record["settings"]["steps"], record["settings"]["seed"]) == ("memagent", 2, 5)
    trained = evaluated(memlab, "--policy", run, "--sizes", "2", "-n", 3)
    assert trained["model"] == str(run / "policy")
    assert without_latency(trained) == without_latency(
        evaluated(memlab, "--policy", run / "policy", "--sizes", "2", "-n", 3)
    )
    again = memlab("train", "memagent", "--preset", "smoke", "--steps", 2, "--seed", 5, "--out", run, "--resume")
    assert again[0] == 0, "a finished run may be resumed: there is nothing left to do"


def test_the_default_directory_of_a_run_carries_its_seed(memlab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert memlab("train", "memagent", "--preset", "smoke", "--steps", 1, "--start", "untrained", "--seed", -3)[0] == 0
    assert (tmp_path / "runs" / "memagent--3" / "policy" / "model.safetensors").exists()


def test_a_full_disk_is_one_sentence_and_resume_works_afterwards(memlab, tmp_path, monkeypatch):
    def full(*args):
        raise RuntimeError("basic_ios::clear: iostream error")

    command = ("train", "memagent", "--preset", "smoke", "--steps", 1, "--out", tmp_path / "run")
    with monkeypatch.context() as disk:
        disk.setattr(torch, "save", full)
        assert_one_sentence(memlab(*command), "the disk is full: .* free some space, then go on with --resume")
    assert memlab(*command, "--resume")[0] == 0


# ---------------------------------------------------------------- mistakes


def assert_one_sentence(result, pattern):
    code, _, err = result
    assert code == 1
    assert err.startswith("memlab: ") and len(err.splitlines()) == 1 and "Traceback" not in err
    assert re.search(pattern, err), err


@pytest.mark.parametrize(
    "args, pattern",
    [
        ("eval mem", "no paper 'mem'; choose one of: memagent"),
        ("train mem", "no paper 'mem'; choose one of: memagent"),
        ("eval", "Missing argument 'paper'; see: memlab eval --help"),
        ("eval memagent more", r"unexpected extra argument.*; see: memlab eval --help"),
        (
            "eval memagent --policy good",
            "'good' is neither a policy nor a directory; choose one of: untrained, .*, or a path",
        ),
        ("eval memagent --sizes a", "--sizes is 'a'; give whole numbers from 1, .*: --sizes 4,64"),
        ("eval memagent --sizes 0", "--sizes is '0'; give whole numbers from 1"),
        ("eval memagent --sizes 4,-1", "--sizes is '4,-1'"),
        ("eval memagent --sizes ,", "--sizes is ','"),
        ("eval memagent --sizes", "requires an argument; see: memlab --help"),
        ("eval memagent -n 0", "-n is 0; ask for at least one task: memlab eval memagent -n 200"),
        ("eval memagent -n -3", "-n is -3; ask for at least one task"),
        ("eval memagent -n x", "Invalid value for '-n': .*; see: memlab eval --help"),
        ("eval memagent --seed 1.5", "Invalid value for '--seed': .*; see: memlab eval --help"),
        ("eval memagent --size 4", "No such option: --size.*; see: memlab eval --help"),
        ("train memagent --preset big", "no preset 'big'; choose one of: smoke, cpu, gpu, node"),
        ("train memagent --preset gpu", "no NVIDIA GPU here; .*--preset cpu"),
        ("train memagent --steps 0", "--steps is 0; train for at least one step: memlab train memagent --steps 20"),
        ("train memagent --start rag", "'rag' has no weights; choose one of: untrained, warmstart, .*, or a directory"),
        ("train memagent --resume --out OUT", "OUT holds no run to resume; start it without --resume"),
        ("run 98", "there is no notebook '98'; choose one of: "),
        ("run 98 --preset big", "no preset 'big'; choose one of"),
        ("sing", "No such command 'sing'; see: memlab --help"),
        ("--verbose", "No such option: --verbose; see: memlab --help"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_way_out(args, pattern, memlab, tmp_path):
    out = str(tmp_path / "run")
    assert_one_sentence(memlab(*args.replace("OUT", out).split()), pattern.replace("OUT", re.escape(out)))


@pytest.mark.parametrize("name", contenders.RECORDED)
def test_recorded_weights_that_are_missing_come_with_the_command_that_makes_them(name, memlab, tmp_path, monkeypatch):
    monkeypatch.setattr(contenders, "RUNS", tmp_path)
    make = f"make it: python -m memlab.training.record memagent --only {contenders.RECORDED[name]}$"
    assert_one_sentence(memlab("eval", "memagent", "--policy", name), f"no recorded {name} policy of memagent; {make}")
    assert_one_sentence(memlab("train", "memagent", "--start", name), make)


def test_the_missing_tiny_model_comes_with_the_command_that_makes_it(memlab, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "TINY", tmp_path / "tiny")
    for name in ("untrained", "random", "rag"):
        assert_one_sentence(
            memlab("eval", "memagent", "--policy", name), "build it with: python -m memlab.training.pretrain"
        )


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_corrupt_weights_are_refused_in_one_sentence(file, manifest, memlab, weights, tmp_path):
    policy = tmp_path / "policy"
    training.save_policy(*pretrained.load(weights / "runs" / "memagent" / "warmstart" / "policy"), policy)
    if not manifest:
        (policy / "manifest.json").unlink()
    (policy / file).write_bytes((policy / file).read_bytes()[:-40])
    expected = rf"{file} is truncated or altered" if manifest else rf"{re.escape(str(policy))} cannot be loaded"
    assert_one_sentence(memlab("eval", "memagent", "--policy", policy), expected + ".*; copy or save it again")


def test_a_directory_without_a_policy_says_how_to_finish_its_run(memlab, tmp_path):
    assert_one_sentence(
        memlab("eval", "memagent", "--policy", tmp_path), f"finish it: memlab train memagent --out {tmp_path} --resume"
    )


def test_a_run_that_is_there_is_neither_overwritten_nor_resumed_with_other_settings(memlab, tmp_path):
    command = ("train", "memagent", "--preset", "smoke", "--steps", 1, "--out", tmp_path / "run")
    assert memlab(*command)[0] == 0
    before = (tmp_path / "run" / "policy" / "model.safetensors").stat().st_mtime_ns
    assert_one_sentence(memlab(*command), "already holds a run; resume it with --resume, or choose another --out")
    assert_one_sentence(
        memlab(*command, "--resume", "--seed", 1), r"other settings \(seed\); resume it with the same ones"
    )
    assert_one_sentence(memlab(*command, "--resume", "--start", "untrained"), r"other settings \(start\)")
    assert (tmp_path / "run" / "policy" / "model.safetensors").stat().st_mtime_ns == before


def test_a_run_without_learning_signal_says_so_in_one_sentence(memlab, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PATIENCE", 1)
    command = ("train", "memagent", "--preset", "smoke", "--start", "untrained", "--out", tmp_path / "run")
    assert_one_sentence(memlab(*command), "no learning signal: .*; warm-start the format first")


def test_an_error_of_the_program_itself_keeps_its_stack_trace(memlab, monkeypatch):
    """A sentence out of the depths of a library would send the learner looking for a mistake of their own."""
    for bug in (ValueError("list.remove(x): x not in list"), KeyError("size")):

        def broken(*args, bug=bug):
            raise bug

        monkeypatch.setattr(evaluation, "evaluate", broken)
        with pytest.raises(type(bug)):
            memlab("eval", "memagent", "--policy", "random")


def test_debug_shows_the_stack_trace_of_a_mistake(memlab, monkeypatch):
    monkeypatch.setenv("MEMLAB_DEBUG", "1")
    with pytest.raises(ValueError, match="no paper"):
        memlab("eval", "mem")


def test_the_exit_code_of_a_command_is_that_of_the_program(memlab, monkeypatch):
    for healthy in (True, False):
        monkeypatch.setattr(doctor, "report", lambda healthy=healthy: healthy)
        assert memlab("doctor")[0] == 1 - healthy


# ---------------------------------------------------------------- help


def commands():
    return typer.main.get_command(cli.app).commands


@pytest.mark.parametrize("name", ["doctor", "run", "train", "eval"])
def test_every_command_and_every_option_has_a_help_text(name, memlab):
    assert set(commands()) == {"doctor", "run", "train", "eval"}
    command = commands()[name]
    assert command.help
    for parameter in command.params:
        assert parameter.help, f"memlab {name} {parameter.name}"
    code, out, err = memlab(name, "--help")
    assert (code, err) == (0, "")
    for parameter in command.params:
        assert max(parameter.opts, key=len) in out


def test_without_a_command_it_explains_itself(memlab):
    code, out, _ = memlab()
    assert code == 0 and all(name in out for name in commands())


# ---------------------------------------------------------------- as a process of its own

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def test_a_process_prints_one_object_on_stdout_and_nothing_on_stderr(weights):
    policy = weights / "runs" / "memagent" / "warmstart"
    command = [
        sys.executable,
        "-m",
        "memlab.cli",
        "eval",
        "memagent",
        "--policy",
        policy,
        "--sizes",
        "1",
        "-n",
        "2",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["results"][0]["size"] == 1


def test_a_mistake_is_quick_to_come_back():
    """Nothing heavy is imported before the arguments are known to be right."""
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "memlab.cli", "eval", "memagent", "-n", "x"],
                          capture_output=True, text=True, env=ENVIRONMENT)  # fmt: skip
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("memlab: Invalid value for '-n'")
    assert not re.search(r"\| +(torch|transformers)$", done.stderr, re.MULTILINE)


def test_control_c_ends_training_with_a_sentence(weights, tmp_path):
    run, start = tmp_path / "run", weights / "runs" / "memagent" / "warmstart"
    arguments = ["train", "memagent", "--preset", "smoke", "--steps", "500", "--start", start, "--out", run]
    process = subprocess.Popen([sys.executable, "-m", "memlab.cli", *arguments], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)  # fmt: skip
    while process.poll() is None and not ((run / "log.jsonl").exists() and (run / "log.jsonl").read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err.strip() == "memlab: interrupted; go on with the same command and --resume"
    assert json.loads((run / "run.json").read_text())["ended"] == "interrupted"
