"""pyproject.toml, environment.yml and binder/environment.yml must ask for the same versions."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

from memlab.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEV = PROJECT["optional-dependencies"]["dev"]


def pinned(lines):
    """{package: version}. Fails on a line that is not an exact pin."""
    out = {}
    for line in lines:
        requirement = Requirement(line)
        assert re.fullmatch(r"==[^*,]+", str(requirement.specifier)), (
            f"{requirement.name} is not pinned exactly: {line}"
        )
        assert requirement.name not in out, f"{requirement.name} is listed twice"
        out[requirement.name] = str(requirement.specifier)[2:]
    return out


def conda(path):
    """The conda packages, the pip requirements and the pip options of an environment file."""
    dependencies = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in dependencies if isinstance(entry, dict))
    options = [line for line in pip if line.startswith("-")]
    return [d for d in dependencies if isinstance(d, str)], [line for line in pip if line not in options], options


def disagreements(pyproject, environment):
    """One sentence for each package that the two do not pin alike."""
    return [
        f"{name}: pyproject.toml has {pyproject.get(name, 'nothing')}, the environment has {environment.get(name, 'nothing')}"
        for name in sorted(pyproject.keys() | environment.keys())
        if pyproject.get(name) != environment.get(name)
    ]


@pytest.mark.parametrize("path, extras", [("environment.yml", DEV), ("binder/environment.yml", [])])
def test_environment_pins_what_pyproject_pins(path, extras):
    _, requirements, _ = conda(path)
    wanted = pinned(PROJECT["dependencies"] + extras)
    assert len(wanted) > 15
    assert not (found := disagreements(wanted, pinned(requirements))), f"{path}: " + "; ".join(found)


def test_a_disagreement_names_the_package():
    found = disagreements({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "2", "d": "1"})
    assert [line.split(":")[0] for line in found] == ["b", "c", "d"]
    assert found[0] == "b: pyproject.toml has 1, the environment has 2"


@pytest.mark.parametrize("extra", ["gpu", "real", "dev"])
def test_extras_are_pinned_and_do_not_repeat_the_base(extra):
    pins = pinned(PROJECT["optional-dependencies"][extra])
    assert pins and not pins.keys() & pinned(PROJECT["dependencies"]).keys()


@pytest.mark.parametrize("path, install", [("environment.yml", "-e ."), ("binder/environment.yml", "-e ..")])
def test_environment_installs_memlab_on_a_python_that_it_supports(path, install):
    packages, _, options = conda(path)
    assert install in options
    python = next(p for p in packages if p.startswith("python="))
    assert python.split("=")[1] in ("3.11", "3.12") and PROJECT["requires-python"] == ">=3.11,<3.13"
    assert "pip" in packages


def test_binder_takes_the_cpu_build_of_torch():
    assert any("whl/cpu" in option for option in conda("binder/environment.yml")[2])


@pytest.mark.parametrize("path", ["environment.yml", "binder/environment.yml"])
def test_every_dependency_says_who_needs_it(path):
    for line in (ROOT / path).read_text(encoding="utf-8").splitlines():
        if "==" in line:
            assert re.search(r" # \w", line), f"{path}: no reason given in: {line.strip()}"
