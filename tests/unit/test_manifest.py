"""A copy that is cut short, altered, incomplete or added to is refused by the name of the file."""

import json

import pytest

from memlab.manifest import MANIFEST, ManifestError, sha256, verify_manifest, write_manifest


@pytest.fixture
def copy(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"0123456789")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "one.json").write_text("{}")
    (tmp_path / ".DS_Store").write_text("left by a file manager")
    write_manifest(tmp_path, licence="Apache-2.0")
    return tmp_path


def test_round_trip(copy):
    manifest = verify_manifest(copy)
    assert manifest["licence"] == "Apache-2.0"
    assert manifest["files"] == {n: sha256(copy / n) for n in ("parts/one.json", "weights.bin")}
    assert not list(copy.glob(".manifest-*"))
    assert verify_manifest(copy) == json.loads(write_manifest(copy, licence="Apache-2.0").read_text())


@pytest.mark.parametrize(
    "damage, named",
    [
        (lambda d: (d / "weights.bin").unlink(), "weights.bin is missing"),
        (lambda d: (d / "weights.bin").write_bytes(b"01234"), "weights.bin is truncated or altered"),
        (lambda d: (d / "parts" / "one.json").write_text("[]"), "parts/one.json is truncated or altered"),
        (lambda d: (d / "adapter_config.json").write_text("{}"), "adapter_config.json is not listed"),
        (lambda d: (d / MANIFEST).unlink(), "has no manifest.json"),
        (lambda d: (d / MANIFEST).write_text('{"files": {"weights.bin"'), "manifest.json is truncated or altered"),
        (lambda d: (d / MANIFEST).write_text("[]"), "manifest.json is truncated or altered"),
    ],
)
def test_damage_is_named(copy, damage, named):
    damage(copy)
    with pytest.raises(ManifestError, match=named):
        verify_manifest(copy)


def test_all_faults_are_named_at_once(copy):
    (copy / "weights.bin").unlink()
    (copy / "extra.txt").write_text("x")
    with pytest.raises(ManifestError, match=r"weights\.bin is missing; extra\.txt is not listed"):
        verify_manifest(copy)


def test_a_name_outside_the_directory_is_refused(tmp_path):
    (tmp_path / "outside.txt").write_text("x")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / MANIFEST).write_text(json.dumps({"files": {"../outside.txt": sha256(tmp_path / "outside.txt")}}))
    with pytest.raises(ManifestError, match=r"outside\.txt is missing"):
        verify_manifest(inside)
