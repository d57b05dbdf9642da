"""A run leaves what it promises, goes on bit for bit after being killed, and refuses what was altered."""

import errno
import functools
import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from memlab import presets
from memlab.episode import Ask, Outcome
from memlab.manifest import ManifestError
from memlab.policies import pretrained
from memlab.training import train as training
from memlab.training.grpo import GRPOSettings
from memlab.training.pretrain import format_rows
from memlab.training.train import NoSignal, read_log, train
from memlab.training.warmstart import finetune
from tests import toys

SETTINGS = GRPOSettings(steps=8, tasks=2, group=4, learning_rate=1e-2, warmup_steps=0, save_steps=2)
CLOCK = ("seconds", "rollout_seconds")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(out, resume=False, settings=SETTINGS, model=None, **options):
    return train(toys.TOY, model or toys.model(), toys.tokenizer(), settings, out, resume, **options)


def weights(out):
    return (Path(out) / "policy" / "model.safetensors").read_bytes()


def records(out):
    return [{k: v for k, v in r.items() if k not in CLOCK} for r in read_log(Path(out) / "log.jsonl")]


def stop_at(step):
    def on_step(record):
        if record["step"] == step:
            raise KeyboardInterrupt

    return on_step


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """settings -> the directory of a run with them that nothing disturbed."""

    @functools.cache
    def of(settings):
        out = tmp_path_factory.mktemp("unbroken") / "run"
        run(out, settings=settings)
        return out

    return of


@pytest.fixture(scope="module")
def cut_short_once(tmp_path_factory):
    out = tmp_path_factory.mktemp("cut") / "run"
    with pytest.raises(KeyboardInterrupt):
        run(out, on_step=stop_at(5))
    return out


@pytest.fixture
def cut_short(cut_short_once, tmp_path):
    """A run of its own that was interrupted in step 5, with checkpoints 2 and 4."""
    return Path(shutil.copytree(cut_short_once, tmp_path / "run"))


def assert_same_run(out, reference):
    assert weights(out) == weights(reference)
    assert records(out) == records(reference)


# ---------------------------------------------------------------- what a run leaves


def test_a_run_leaves_its_settings_its_log_and_a_policy_that_loads(unbroken):
    out = unbroken(SETTINGS)
    record = json.loads((out / "run.json").read_text())
    assert record["paper"] == "toy" and record["settings"]["learning_rate"] == 1e-2 and record["settings"]["seed"] == 0
    assert (record["ended"], record["step"], record["device"]) == ("all 8 steps", 8, "cpu")
    assert record["seconds"] > 0 and {"torch", "transformers", "trl"} <= record["versions"].keys()
    model, tokenizer = pretrained.load(out / "policy")
    assert tokenizer.get_vocab() == toys.tokenizer().get_vocab()
    moved = [(a - b).abs().max() for a, b in zip(model.parameters(), toys.model().parameters(), strict=True)]
    assert max(moved) > 1e-3, "the policy is the trained one"
    assert not list(out.rglob("*.partial"))


def test_every_step_is_logged_once_with_what_the_figures_read(unbroken):
    log = read_log(unbroken(SETTINGS) / "log.jsonl")
    assert [r["step"] for r in log] == list(range(1, 9))
    for r in log:
        assert 0 <= r["reward"] <= 1 and r["reward_std"] >= 0
        shares = ("zero_spread_share", "clipped_share", "overflow_share", "ratio_clipped_share")
        assert all(0 <= r[share] <= 1 for share in shares)
        assert 1 <= r["rows_per_trajectory"] <= 12, "one to four contexts, each written to at most three times"
        assert 0 < r["generated_tokens"] < r["tokens"]
        assert 0 < r["rollout_seconds"] <= r["seconds"]
        assert r["entropy"] > 0 and r["grad_norm"] > 0 and r["learning_rate"] == 1e-2 and r["kl"] is None


def test_the_logged_reward_is_the_mean_over_trajectories_not_over_rows(tmp_path, monkeypatch):
    seen = []
    play = training.play
    monkeypatch.setattr(training, "play", lambda *a: seen.append(play(*a)) or seen[-1])
    run(tmp_path / "run", settings=replace(SETTINGS, steps=2))
    for step, record in zip(seen, read_log(tmp_path / "run" / "log.jsonl"), strict=True):
        rewards = torch.tensor([t.reward for t in step])
        assert len({len(t.rows) for t in step}) > 1
        assert record["reward"] == pytest.approx(rewards.mean().item(), abs=1e-6)
        assert record["reward_std"] == pytest.approx(rewards.view(2, 4).std(1).mean().item(), abs=1e-6)


def test_tasks_and_samples_depend_on_the_seed_and_any_whole_number_is_one(tmp_path, unbroken):
    first = {tuple(records(unbroken(SETTINGS))[0].values())}
    for seed in (-1, 1, 2**40):
        run(tmp_path / str(seed), settings=replace(SETTINGS, steps=1, seed=seed))
        first.add(tuple(records(tmp_path / str(seed))[0].values()))
    assert len(first) == 4


def test_every_step_and_every_seed_samples_anew(tmp_path, monkeypatch):
    class OneTask:
        def make(self, rng, size):
            return toys.ToyTask(1, 0, ("a", "b", "c", "d", "e"))

    written, play = [], training.play
    monkeypatch.setattr(training, "play", lambda *a: written.append(play(*a)) or written[-1])
    for seed in (0, 1):
        run(tmp_path / str(seed), settings=replace(SETTINGS, steps=2, learning_rate=0.0, seed=seed), world=OneTask())
    texts = {tuple(turn.text for t in step for turn in t.turns) for step in written}
    assert len(texts) == 4, "same weights, same task, two steps of two seeds"


# ---------------------------------------------------------------- killed

# Real processes, ended by a real SIGKILL. They are forked from a server that has imported everything once.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["trl", "memlab.training.train", "tests.toys"])


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_a_step(step):
    return lambda record: die() if record["step"] == step else None


def kill_in_half_an_optimizer_file():
    save = torch.save

    def half(state, file, *args, **kwargs):
        save(state, file, *args, **kwargs)
        if str(file).endswith("checkpoint-4/optimizer.pt"):
            os.truncate(file, os.path.getsize(file) // 2)
            die()

    torch.save = half


def kill_before_the_manifest_of(name):
    write = training.write_manifest
    training.write_manifest = lambda directory: die() if directory.name == name else write(directory)


def kill_in_half_a_log_line():
    def half(log, record):
        with log.path.open("a") as file:
            file.write(json.dumps(record)[:40])
        if record["step"] == 5:
            die()
        with log.path.open("a") as file:
            file.write(json.dumps(record)[40:] + "\n")

    training.RunLog.write = half


MOMENTS = {
    "before the first checkpoint": lambda: kill_in_a_step(1),
    "in a step": lambda: kill_in_a_step(5),
    "in half a checkpoint file": kill_in_half_an_optimizer_file,
    "before the manifest of the first checkpoint": lambda: kill_before_the_manifest_of("checkpoint-2"),
    "before the manifest of a later checkpoint": lambda: kill_before_the_manifest_of("checkpoint-4"),
    "in half a log line": kill_in_half_a_log_line,
    "while the policy is saved": lambda: kill_before_the_manifest_of("policy.partial"),
}


def killed_run(out, moment, settings):
    torch.set_num_threads(1)
    run(out, settings=settings, on_step=MOMENTS[moment]())


def slow_run(out, resume):
    """Past one new checkpoint, and not to the end: the killer, however late, finds it running."""
    torch.set_num_threads(1)
    steps = iter((0.1, 0.1, 600))
    run(out, resume, on_step=lambda record: time.sleep(next(steps)))


@pytest.fixture
def child(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def start(target, *args):
        process = processes.Process(target=target, args=args)
        process.start()
        started.append(process)
        return process

    started = []
    yield start
    for process in started:
        process.kill()
        process.join()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_killed_at_a_bad_moment_goes_on_as_if_it_had_not_been(moment, tmp_path, child, unbroken):
    process = child(killed_run, tmp_path / "run", moment, SETTINGS)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert json.loads((tmp_path / "run" / "run.json").read_text())["ended"] is None
    assert not (tmp_path / "run" / "policy").exists()
    run(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", unbroken(SETTINGS))


@pytest.mark.slow
def test_a_run_killed_again_and_again_goes_on_as_if_it_had_not_been(tmp_path, child, unbroken):
    for resume, delay in ((False, 0.05), (True, 0.2), (True, 0.35)):
        before = set((tmp_path / "run").glob("checkpoints/*/manifest.json"))
        process = child(slow_run, tmp_path / "run", resume)
        while process.is_alive() and not set((tmp_path / "run").glob("checkpoints/*/manifest.json")) - before:
            time.sleep(0.01)
        time.sleep(delay)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "it was killed, not finished"
    run(tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", unbroken(SETTINGS))


def test_a_killed_run_with_kl_and_micro_batches_goes_on_likewise(tmp_path, child, unbroken):
    settings = replace(SETTINGS, beta=0.1, micro_batches=2)
    child(killed_run, tmp_path / "run", "in a step", settings).join()
    run(tmp_path / "run", resume=True, settings=settings)
    assert_same_run(tmp_path / "run", unbroken(settings))
    assert all(r["kl"] >= 0 for r in records(tmp_path / "run"))


# ---------------------------------------------------------------- interrupted, resumed, refused


def test_an_interrupted_run_says_so_and_goes_on(cut_short, unbroken):
    record = json.loads((cut_short / "run.json").read_text())
    assert (record["ended"], record["step"]) == ("interrupted", 5)
    run(cut_short, resume=True)
    assert_same_run(cut_short, unbroken(SETTINGS))


def test_a_checkpoint_without_manifest_is_skipped(cut_short, unbroken):
    (cut_short / "checkpoints" / "checkpoint-4" / "manifest.json").unlink()
    model, steps = toys.model(), []
    run(cut_short, resume=True, model=model, on_step=lambda r: steps.append(r["step"]))
    assert steps == [3, 4, 5, 6, 7, 8]
    assert_same_run(cut_short, unbroken(SETTINGS))


def test_without_any_complete_checkpoint_it_begins_again(cut_short, unbroken):
    for manifest in cut_short.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    run(cut_short, resume=True)
    assert_same_run(cut_short, unbroken(SETTINGS))


def test_with_nothing_but_its_settings_it_begins_again(cut_short, unbroken):
    """Killed between run.json and the log, the run can be neither started over nor lost."""
    shutil.rmtree(cut_short / "checkpoints")
    (cut_short / "log.jsonl").unlink()
    with pytest.raises(FileExistsError, match="resume it with --resume"):
        run(cut_short)
    run(cut_short, resume=True)
    assert_same_run(cut_short, unbroken(SETTINGS))


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]
)
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_checkpoint_is_refused_by_name_with_the_way_out(file, damage, cut_short, unbroken):
    damage(cut_short / "checkpoints" / "checkpoint-4" / file)
    with pytest.raises(
        ManifestError, match=rf"{file} is (truncated or altered|missing); delete it.*: rm -r '.*checkpoint-4'$"
    ):
        run(cut_short, resume=True)
    if damage is cut and file == "optimizer.pt":  # the way out is one
        shutil.rmtree(cut_short / "checkpoints" / "checkpoint-4")
        run(cut_short, resume=True)
        assert_same_run(cut_short, unbroken(SETTINGS))


def test_a_damaged_policy_is_refused_by_name(tmp_path, unbroken):
    policy = shutil.copytree(unbroken(SETTINGS) / "policy", tmp_path / "policy")
    flip(policy / "model.safetensors")
    with pytest.raises(ManifestError, match="model.safetensors is truncated or altered; copy or save it again"):
        pretrained.load(policy)


def test_a_damaged_run_record_is_refused_by_name(cut_short):
    cut(cut_short / "run.json")
    with pytest.raises(ManifestError, match=r"run\.json is truncated or altered"):
        run(cut_short, resume=True)


def test_a_log_that_is_bad_in_the_middle_is_refused_with_the_line(cut_short):
    lines = (cut_short / "log.jsonl").read_text().splitlines()
    (cut_short / "log.jsonl").write_text("\n".join([lines[0], lines[1][:30], *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=r"log\.jsonl, line 2: not a JSON record"):
        run(cut_short, resume=True)


def test_resuming_with_other_settings_is_refused_naming_them(cut_short):
    with pytest.raises(ValueError, match=r"other settings \(learning_rate, seed\); resume it with the same ones"):
        run(cut_short, resume=True, settings=replace(SETTINGS, learning_rate=1e-3, seed=7))
    with pytest.raises(ValueError, match=r"other settings \(start\)"):
        run(cut_short, resume=True, model=toys.model(seed=1))
    with pytest.raises(ValueError, match=r"other settings \(paper\)"):
        other = replace(toys.TOY, name="other")
        train(other, toys.model(), toys.tokenizer(), SETTINGS, cut_short, resume=True)


def test_starting_over_a_run_is_refused_and_leaves_it_alone(cut_short):
    before = {p: p.read_bytes() for p in cut_short.rglob("*") if p.is_file()}
    with pytest.raises(FileExistsError, match="already holds a run; resume it with --resume, or choose another --out"):
        run(cut_short)
    assert before == {p: p.read_bytes() for p in cut_short.rglob("*") if p.is_file()}


def test_there_must_be_a_run_to_resume(tmp_path):
    with pytest.raises(FileNotFoundError, match="no run to resume; start it without --resume"):
        run(tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()


def test_resuming_a_finished_run_changes_nothing_and_gives_its_weights(tmp_path, unbroken):
    out = Path(shutil.copytree(unbroken(SETTINGS), tmp_path / "run"))
    shutil.rmtree(out / "checkpoints")
    before, model = (out / "run.json").read_text(), toys.model()
    assert run(out, resume=True, model=model, on_step=lambda r: pytest.fail("trained again")) == out / "policy"
    assert (out / "run.json").read_text() == before
    trained = pretrained.load(out / "policy")[0]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), trained.parameters(), strict=True))


# ---------------------------------------------------------------- nothing to learn


def always(reward):
    def episode(task):
        yield Ask("a b :", max_tokens=4)
        return Outcome(reward=reward, answer="")

    return episode


def test_rewards_that_never_spread_stop_the_run_and_say_why(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PATIENCE", 3)
    with pytest.raises(
        NoSignal, match="for 3 steps all rollouts .* same reward .mean 0.00.*warm-start the format first"
    ):
        run(tmp_path / "run", episode=always(0.0))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["ended"].startswith("no learning signal") and record["step"] == 3
    assert not (tmp_path / "run" / "policy").exists()
    assert [r["zero_spread_share"] for r in records(tmp_path / "run")] == [1.0] * 3


def test_a_solved_run_ends_early_and_saves_its_policy(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "PATIENCE", 3)
    policy = run(tmp_path / "run", episode=always(1.0))
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["ended"].startswith("solved") and record["step"] == 3
    pretrained.load(policy)


@pytest.mark.parametrize("save_steps", [3, 4])
def test_a_resumed_run_remembers_how_long_nothing_has_spread(save_steps, tmp_path, monkeypatch):
    """It ends in step 4 like an unbroken one, whether its checkpoint is from before that step or from that step."""
    monkeypatch.setattr(training, "PATIENCE", 4)
    settings = replace(SETTINGS, save_steps=save_steps)
    with monkeypatch.context() as interrupted, pytest.raises(KeyboardInterrupt):
        fails(training, "save_policy", KeyboardInterrupt)(interrupted)
        run(tmp_path / "run", settings=settings, episode=always(1.0))
    run(tmp_path / "run", resume=True, settings=settings, episode=always(1.0))
    assert [r["step"] for r in records(tmp_path / "run")] == [1, 2, 3, 4]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["ended"].startswith("solved")


def test_equal_rewards_are_no_signal_whatever_their_value(tmp_path, monkeypatch):
    """The float32 mean of seven times 0.7 is not 0.7, and Adam makes steps of full size out of any residue."""
    monkeypatch.setattr(training, "PATIENCE", 100)
    model, start = toys.model(), toys.model()
    run(tmp_path / "run", settings=replace(SETTINGS, group=7), model=model, episode=always(0.7))
    assert all(r["zero_spread_share"] == 1.0 and r["grad_norm"] == 0.0 for r in records(tmp_path / "run"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), start.parameters(), strict=True))


def test_prompts_that_never_fit_are_reported_as_such(tmp_path):
    def endless(task):
        yield Ask("a " * 600, max_tokens=4)
        return Outcome(reward=0.0, answer="")

    with pytest.raises(ValueError, match="no rollout wrote a token: every prompt exceeds the policy's window"):
        run(tmp_path / "run", episode=endless)


# ---------------------------------------------------------------- the KL


def test_the_kl_is_to_the_weights_the_run_began_with(tmp_path):
    """TRL would reload the reference from the path in the model's config: another model, after a warm start in memory."""
    toys.model(seed=9).save_pretrained(tmp_path / "elsewhere")
    model = toys.model()
    model.config._name_or_path = str(tmp_path / "elsewhere")
    run(tmp_path / "run", settings=replace(SETTINGS, beta=0.1), model=model)
    kl = [r["kl"] for r in records(tmp_path / "run")]
    assert kl[0] == pytest.approx(0, abs=1e-7), "before the first update the policy is the reference"
    assert all(k > 1e-5 for k in kl[1:])


def test_the_kl_holds_the_policy_back(tmp_path, unbroken):
    free, held = unbroken(SETTINGS), tmp_path / "run"
    run(held, settings=replace(SETTINGS, beta=100.0))

    def distance(out):
        return sum(
            (a - b).pow(2).sum()
            for a, b in zip(pretrained.load(out / "policy")[0].parameters(), toys.model().parameters(), strict=True)
        )

    assert records(held)[-1]["kl"] < 0.5 * distance(free) and distance(held) < distance(free)


# ---------------------------------------------------------------- a full disk


def fails(owner, name, error, when=lambda *args: True):
    """Given a monkeypatch, makes `owner.name` raise `error` when it is called with arguments for which `when` holds."""

    def install(monkeypatch):
        real = getattr(owner, name)

        def broken(*args, **kwargs):
            if when(*args):
                raise error
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, broken)

    return install


NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FULL = {  # as each writer words it
    "checkpoint": fails(torch, "save", RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
                        lambda state, file, *_: str(file).endswith("checkpoint-4/optimizer.pt")),
    "checkpoint's end": fails(torch, "save", RuntimeError("basic_ios::clear: iostream error"),
                              lambda state, file, *_: str(file).endswith("checkpoint-4/scheduler.pt")),
    "manifest": fails(training, "write_manifest", NO_SPACE, lambda directory: directory.name == "checkpoint-4"),
    "log": fails(training.RunLog, "write", NO_SPACE, lambda log, record: record["step"] == 4),
    "policy": fails(training, "save_policy", SafetensorError("Error while serializing: No space left on device (os error 28)")),
}  # fmt: skip


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_one_sentence_and_the_run_goes_on_afterwards(what, tmp_path, monkeypatch, unbroken):
    with monkeypatch.context() as full:
        FULL[what](full)
        with pytest.raises(OSError, match=r"^the disk is full: .*; free some space, then go on with --resume$"):
            run(tmp_path / "run", settings=SETTINGS)
    assert "failed" in json.loads((tmp_path / "run" / "run.json").read_text())["ended"]
    assert not (tmp_path / "run" / "policy").exists()
    steps = []
    run(tmp_path / "run", resume=True, on_step=lambda r: steps.append(r["step"]))
    assert steps == ([] if what == "policy" else [3, 4, 5, 6, 7, 8]), "the earlier checkpoint was intact"
    assert_same_run(tmp_path / "run", unbroken(SETTINGS))


def test_a_policy_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    training.save_policy(toys.model(), toys.tokenizer(), tmp_path / "policy")
    before = (tmp_path / "policy" / "model.safetensors").read_bytes()
    fails(training, "write_manifest", NO_SPACE)(monkeypatch)
    with pytest.raises(OSError):
        training.save_policy(toys.model(seed=1), toys.tokenizer(), tmp_path / "policy")
    assert (tmp_path / "policy" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["policy"], "and takes no space"


# ---------------------------------------------------------------- the warm start


def test_finetuning_lowers_the_loss(tmp_path):
    model = toys.model()
    log = finetune(
        toys.TOY,
        lambda ask, rng: "q p",
        model,
        toys.tokenizer(),
        tmp_path,
        tasks=60,
        epochs=4,
        batch_size=16,
        learning_rate=5e-3,
    )
    assert log[0]["loss"] > 2.5 > 1.0 > log[-1]["loss"]
    assert not list(tmp_path.rglob("*.safetensors"))


def test_finetuning_puts_its_loss_on_what_was_written_and_nowhere_else(tmp_path, monkeypatch):
    import trl

    batches = []

    class Watched(trl.SFTTrainer):
        def compute_loss(self, model, inputs, **kwargs):
            batches.append({k: inputs[k].clone() for k in ("input_ids", "labels", "attention_mask")})
            logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, :-1]
            expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), inputs["labels"][:, 1:].flatten())
            loss = super().compute_loss(model, inputs, **kwargs)
            assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
            return loss

    monkeypatch.setattr(trl, "SFTTrainer", Watched)
    tokenizer = toys.tokenizer()
    finetune(toys.TOY, lambda ask, rng: "q p", toys.model(), tokenizer, tmp_path, tasks=20, batch_size=8)
    written = tokenizer.encode("q p", add_special_tokens=False) + [tokenizer.eos_token_id]
    assert batches
    for batch in batches:
        for ids, labels, attention in zip(
            *(batch[k].tolist() for k in ("input_ids", "labels", "attention_mask")), strict=True
        ):
            on = [i for i, label in enumerate(labels) if label != -100]
            assert [ids[i] for i in on] == written * (len(on) // 3), "each completion whole, with its end token"
            assert all(labels[i] == ids[i] and attention[i] for i in on)
            assert on[0] >= 2, "a prompt has at least two words"


# ---------------------------------------------------------------- what a paper may ask for


def test_a_paper_asks_for_fewer_steps_and_for_more_or_fewer_tasks():
    cpu, smoke = presets.get("cpu"), presets.get("smoke")
    long = replace(toys.TOY, train_steps=50, tasks_scale=0.25)
    of = lambda *args, **kwargs: (lambda s: (s.steps, s.tasks))(training.settings_of(*args, **kwargs))  # noqa: E731
    assert of(cpu, 0) == of(cpu, 0, paper=toys.TOY) == (300, 16)
    assert of(cpu, 0, paper=long) == (50, 4) and of(smoke, 0, paper=long) == (3, 1) and of(smoke, 0) == (3, 4)
    assert of(cpu, 0, 7, long) == (7, 4), "what is asked for by hand counts"
    assert of(cpu, 0, paper=replace(toys.TOY, tasks_scale=3)) == (300, 48), "where a task is one turn"


def test_an_ablation_may_cut_the_rows_otherwise(tmp_path):
    settings = replace(SETTINGS, steps=2)
    run(tmp_path / "own", settings=settings)
    run(tmp_path / "last", settings=settings, rows=lambda trajectory, tokenizer: trajectory.rows[-1:])
    of = lambda name: [r["rows_per_trajectory"] for r in read_log(tmp_path / name / "log.jsonl")]  # noqa: E731
    assert min(of("own")) > 1.0 and of("last") == [1.0, 1.0]
    assert weights(tmp_path / "own") != weights(tmp_path / "last")


def test_warm_start_rows_may_come_from_right_traces_only():
    tokenizer = toys.tokenizer()
    paper = replace(toys.TOY, random_valid=lambda ask, rng: rng.choice(("a", "a b")))
    everything, right = (format_rows(paper, paper.random_valid, tokenizer, 60, 0, right=right) for right in (False, True))
    assert 0 < len(right) < len(everything)
    odd = [sum(row.mask) % 2 == 0 for row in right]  # "a" and its end token
    assert all(odd), "a trace is right here if every turn wrote one word"
    assert len(format_rows(paper, paper.random_valid, tokenizer, 60, 0, sizes=(1,))) == 60


def test_without_a_right_trace_there_is_nothing_to_imitate(tmp_path):
    never = replace(toys.TOY, random_valid=lambda ask, rng: "a b")  # two words everywhere: no reward
    with pytest.raises(ValueError, match="none of 4 trajectories got the full reward"):
        finetune(never, never.random_valid, toys.model(), toys.tokenizer(), tmp_path, tasks=4, right=True)
