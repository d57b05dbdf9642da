import dataclasses

import pytest

from memlab import presets


def test_unknown_preset_names_the_valid_ones_in_one_sentence():
    with pytest.raises(ValueError, match="no preset 'big'; choose one of: smoke, cpu, gpu, node$"):
        presets.get("big")


def test_the_dial_only_goes_up():
    smoke, cpu, gpu, node = presets.PRESETS.values()
    assert smoke.train_steps < cpu.train_steps and smoke.eval_n < cpu.eval_n
    assert (
        cpu.train_steps * cpu.tasks_per_step * cpu.group_size < node.train_steps * node.tasks_per_step * node.group_size
    )
    assert (smoke.needs_gpu, cpu.needs_gpu, gpu.needs_gpu, node.needs_gpu) == (False, False, True, True)
    assert smoke.model == cpu.model == "tiny" and gpu.model.startswith("hub:")


def test_every_preset_can_form_groups_and_split_over_its_processes():
    for name, preset in presets.PRESETS.items():
        assert preset.name == name and presets.get(name) is preset
        assert preset.group_size >= 2, "a group of one has no advantage"
        assert (preset.tasks_per_step * preset.group_size) % preset.processes == 0
        assert list(preset.eval_sizes) == sorted(set(preset.eval_sizes))


def test_a_preset_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        presets.get("cpu").train_steps = 1
