"""transformers, as policies, checkpoints and training use it. Each test says what breaks in memlab if it fails."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from transformers.cache_utils import DynamicCache
from transformers.trainer_callback import CallbackHandler

from memlab.training.loop import pad_rows, token_logprobs
from memlab.training.pretrain import END, PAD, UNKNOWN
from tests import toys

PROMPTS = [[4, 5, 6, 7, 8], [9, 10]]


@pytest.fixture(scope="module")
def model():
    return toys.model().eval()


def alone(model, ids):
    """The logits of one sequence, without padding and without a cache: what everything else is compared with."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def left_padded(prompts):
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    attention = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    return ids, attention, (attention.cumsum(-1) - 1).clamp(min=0)


@torch.no_grad()
def prefilled(model):
    ids, attention, position = left_padded(PROMPTS)
    cache = DynamicCache(config=model.config)
    out = model(
        input_ids=ids,
        attention_mask=attention,
        position_ids=position,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return out, cache, attention, position


# ---------------------------------------------------------------- what ModelPolicy samples with


def test_left_padding_with_position_ids_changes_no_logits(model):
    """ModelPolicy batches prompts of different lengths: a rollout would depend on which others it was played with."""
    out, *_ = prefilled(model)
    for row, prompt in enumerate(PROMPTS):
        assert torch.allclose(out.logits[row, -1], alone(model, prompt)[-1], atol=1e-5)


def test_logits_to_keep_gives_the_last_positions(model):
    """ModelPolicy reads only the last logits of a prompt, and would sample from another position."""
    out, *_ = prefilled(model)
    assert out.logits.shape == (2, 1, model.config.vocab_size)
    ids = torch.tensor([PROMPTS[0]])
    with torch.no_grad():
        assert torch.allclose(
            model(input_ids=ids, logits_to_keep=2).logits[0], alone(model, PROMPTS[0])[-2:], atol=1e-6
        )


def test_selecting_repeated_cache_rows_continues_each_copy_by_itself(model):
    """A prompt that several rollouts share is prefilled once. If copies shared storage, one rollout would write into another."""
    _, cache, attention, position = prefilled(model)
    cache.batch_select_indices(torch.tensor([0, 0, 1, 0]))
    spread = torch.tensor([0, 0, 1, 0])
    attention, position = attention[spread], position[spread, -1:]
    written = [[11, 12], [13, 14], [15, 16], [17, 18]]
    for step in range(2):
        attention = torch.cat([attention, attention.new_ones(4, 1)], 1)
        position = position + 1
        with torch.no_grad():
            next_ids = torch.tensor([[w[step]] for w in written])
            out = model(
                input_ids=next_ids,
                attention_mask=attention,
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
            )
    for row, source in enumerate(spread.tolist()):
        assert torch.allclose(out.logits[row, -1], alone(model, PROMPTS[source] + written[row])[-1], atol=1e-5)


def test_dropping_cache_rows_leaves_the_others(model):
    """Rollouts that are done leave the batch; the others must go on with their own past."""
    _, cache, attention, position = prefilled(model)
    cache.batch_select_indices(torch.tensor([1]))
    attention = torch.cat([attention[1:], attention.new_ones(1, 1)], 1)
    with torch.no_grad():
        step = dict(input_ids=torch.tensor([[11]]), attention_mask=attention, position_ids=position[1:, -1:] + 1)
        out = model(**step, past_key_values=cache, use_cache=True)
    assert cache.get_seq_length() == 6, "five positions of the padded prompts, and one"
    assert torch.allclose(out.logits[0, -1], alone(model, PROMPTS[1] + [11])[-1], atol=1e-5)


# ---------------------------------------------------------------- what training computes with


def test_left_padding_without_position_ids_changes_no_logits_either(model):
    """TRL scores left-padded rows so. If positions were absolute, training would see another model than the rollout."""
    ids, attention, _ = left_padded(PROMPTS)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits
    for row, prompt in enumerate(PROMPTS):
        assert torch.allclose(logits[row, -len(prompt) :], alone(model, prompt), atol=1e-5)


def test_right_padding_changes_no_log_probability(model):
    """The plain loop, the pretraining and the oracle of the trainer's tests pad rows on the right."""
    from memlab.episode import Row

    rows = [Row([4, 5], [6, 7, 8], [1, 1, 1], []), Row([9], [10], [1], [])]
    with torch.no_grad():
        logp = token_logprobs(model, *pad_rows(rows, 0)[:2])
    for i, row in enumerate(rows):
        expected = alone(model, row.ids).log_softmax(-1)[:-1].gather(-1, torch.tensor(row.ids[1:])[:, None])[:, 0]
        assert torch.allclose(logp[i, : len(expected)], expected, atol=1e-5)


# ---------------------------------------------------------------- what is saved and loaded


def test_a_saved_model_is_these_files_and_loads_with_the_same_weights(model, tmp_path):
    """Manifests, the repository's ignore rules and the size of data/ count on it; tied weights are stored once."""
    model.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "generation_config.json", "model.safetensors"}
    again = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True, dtype=torch.float32)
    assert type(again) is type(model) and again.lm_head.weight.data_ptr() == again.model.embed_tokens.weight.data_ptr()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert (
        again.config.eos_token_id == 1
        and again.config.pad_token_id == 0
        and again.config.max_position_embeddings == 512
    )


def test_the_word_tokenizer_survives_saving_and_its_text_survives_decoding(tmp_path):
    """The cut rule compares decoded text: a cleaned-up space before a full stop would begin a new row in every turn."""
    toys.tokenizer().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True, padding_side="left")
    assert (tokenizer.pad_token, tokenizer.eos_token, tokenizer.unk_token) == (PAD, END, UNKNOWN)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.padding_side) == (0, 1, "left")
    text = "a b : say again . <end> ? ."
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids == toys.tokenizer().encode(text, add_special_tokens=False) and 1 in ids
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a b : say again . ? ."


def test_a_callback_is_removed_by_its_class_not_by_its_name(model):
    """`train` and `finetune` silence the printer so."""
    handler = CallbackHandler([PrinterCallback()], model, None, None, None)
    handler.remove_callback(PrinterCallback)
    assert not any(isinstance(callback, PrinterCallback) for callback in handler.callbacks)
