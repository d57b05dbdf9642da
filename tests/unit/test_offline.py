"""Nothing at the smoke and cpu presets tries to reach a network, not even telemetry, and not even where it could."""

import socket
from dataclasses import replace

import huggingface_hub
import pytest

from memlab import contenders, evaluation, papers
from memlab.policies import pretrained
from memlab.policies.model import ModelPolicy
from memlab.rollout import play
from memlab.training.grpo import GRPOSettings
from memlab.training.pretrain import build_tokenizer, vocabulary
from memlab.training.train import save_policy, train
from memlab.training.warmstart import finetune
from tests import toys

MEMAGENT = papers.get("memagent")


@pytest.fixture
def attempts(monkeypatch):
    """Every attempt to look up or reach another machine. It fails, and is listed even if the caller swallows the error."""
    made = []

    def refuse(what, real=None):
        def call(*args, **kwargs):
            if real and args[0].family == socket.AF_UNIX:
                return real(*args, **kwargs)
            made.append((what, args))
            raise OSError(f"the network is off: {what}")

        return call

    for name in ("connect", "connect_ex", "sendto", "sendmsg"):
        monkeypatch.setattr(socket.socket, name, refuse(name, getattr(socket.socket, name)))
    for name in ("create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse(name))
    # what lab.start and an environment may have switched off is on again: the code itself must not ask
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    return made


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    tokenizer = build_tokenizer(vocabulary())
    save_policy(toys.model(vocab_size=len(tokenizer)), tokenizer, tmp_path / "tiny")
    (tmp_path / "tiny" / "manifest.json").rename(tmp_path / "tiny" / "provenance.json")
    monkeypatch.setattr(pretrained, "TINY", tmp_path / "tiny")


def test_the_guard_notices_what_is_swallowed(attempts):
    with pytest.raises(Exception, match="the network is off"):
        huggingface_hub.HfApi().model_info("any/model", token=False)
    assert attempts[0] == ("create_connection", (("huggingface.co", 443), None))
    left, right = socket.socketpair()
    left.send(b"a pair of processes may still talk")
    assert right.recv(1) == b"a"


def test_load_play_and_evaluate_stay_on_this_machine(attempts, tiny):
    model, tokenizer = pretrained.load("tiny")
    task = evaluation.draw_tasks(MEMAGENT, 2, 1, 0)[0]
    assert play([MEMAGENT.episode(task)], ModelPolicy(model, tokenizer), [task])[0].turns
    for name in ("untrained", "random", *MEMAGENT.baselines):
        who = contenders.contender(MEMAGENT, name)
        assert evaluation.evaluate(MEMAGENT, who.policy, [1, 2], 2, 0, who.episode)
    assert attempts == []


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_training_saving_and_resuming_stay_on_this_machine(beta, attempts, tiny, tmp_path):
    settings = GRPOSettings(steps=2, tasks=2, group=2, save_steps=1, beta=beta)

    def interrupt(record):
        if record["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(MEMAGENT, *pretrained.load("tiny"), settings, tmp_path / "run", on_step=interrupt)
    policy = train(MEMAGENT, *pretrained.load("tiny"), settings, tmp_path / "run", resume=True)
    pretrained.load(policy)
    assert attempts == []


def test_the_warm_start_stays_on_this_machine(attempts, tiny, tmp_path):
    finetune(
        replace(MEMAGENT, train_sizes=(1,)), MEMAGENT.random_valid, *pretrained.load("tiny"), tmp_path / "work", tasks=8
    )
    assert attempts == []


def test_an_unknown_name_is_not_asked_of_a_hub(attempts, tiny):
    with pytest.raises(ValueError, match="neither a policy nor a directory"):
        contenders.contender(MEMAGENT, "Qwen/Qwen3-0.6B")
    with pytest.raises(FileNotFoundError, match="for the hub: hub:Qwen/Qwen3-0.6B"):
        pretrained.load("Qwen/Qwen3-0.6B")
    assert attempts == []
