"""Loading as a whole: files and folders, merging, secrets, and every mistake at once."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.keys import Model, keys_of
from proxy.config.load import ConfigError, load
from proxy.config.settings import Config

API = "version: 1\napis: {x: {url: http://x}}\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def test_five_mistakes_are_five_errors_with_the_right_lines(tmp_path: Path) -> None:
    """An operator mends a file in one go, not one mistake a time."""
    text = """\
version: 1
listen:
  agent: 7070
apis:
  stripe:
    url: //x
    mount: stripe
    retrys: {attempts: 4}
    breaker:
      error_ratio: 50
"""
    write(tmp_path, bad=text)
    with pytest.raises(ConfigError) as caught:
        load([tmp_path / "bad.yaml"], {})
    where, plain = f"{tmp_path}/bad.yaml", "http://host for plain text"
    assert str(caught.value).splitlines() == [
        f"{where}:3:10: listen.agent: '7070' is not an address; write host:port, such as 127.0.0.1:7070",
        f"{where}:6:10: apis.stripe.url: '//x' is not a url with http or https; write https://host, or {plain}",
        f"{where}:7:12: apis.stripe.mount: 'stripe' is not a mount; write /stripe",
        f"{where}:8:5: apis.stripe.retrys: unknown key 'retrys'; did you mean 'retry'?",
        f"{where}:10:20: apis.stripe.breaker.error_ratio: '50' is not a ratio from 0 to 1, nor off; write 50%",
    ]


def test_a_folder_is_its_yaml_files_by_name(tmp_path: Path) -> None:
    """As a ConfigMap is mounted: links into a hidden folder, which itself is skipped."""
    data = tmp_path / "..2026"
    data.mkdir()
    write(data, b=API)
    (tmp_path / "..data").symlink_to(data)
    (tmp_path / "b.yaml").symlink_to(tmp_path / "..data" / "b.yaml")
    write(tmp_path, a="version: 1\nlog: {level: debug}\n")
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "notes.txt").write_text("nonsense")
    config = load([tmp_path], {})
    assert (config.log_level, [api.line for api in config.apis]) == ("debug", [f"{tmp_path}/b.yaml:2"])
    assert config.watched == (tmp_path, tmp_path / "a.yaml", tmp_path / "b.yaml")


def test_a_scalar_given_in_two_files_names_both_places(tmp_path: Path) -> None:
    """No file goes before another."""
    write(tmp_path, a=API, b="log: {level: info}", c="\nlog: {level: debug}")
    with pytest.raises(ConfigError) as caught:
        load([tmp_path], {})
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.path) == (f"{tmp_path}/c.yaml", 2, "log.level")
    assert problem.message == f"'level' is already given at {tmp_path}/b.yaml:1"


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    """Once in its folder and once by itself is no contradiction."""
    write(tmp_path, a=API)
    assert load([tmp_path, tmp_path / "a.yaml"], {}).apis


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.yaml", "the file cannot be read: No such file or directory; check the path"),
        ("empty", "the folder holds no *.yaml file; put one there"),
    ],
)
def test_what_is_not_there_is_a_problem(name: str, message: str, tmp_path: Path) -> None:
    """One message, and none of what follows from it."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError) as caught:
        load([tmp_path / name], {})
    assert str(caught.value).startswith(f"{tmp_path}/{name}:1:1: {message}")
    assert "\n" not in str(caught.value)


def test_what_an_empty_file_lacks_is_said_of_that_file(tmp_path: Path) -> None:
    """A mistake without a place could not be mended."""
    write(tmp_path, empty="# nothing yet\n")
    with pytest.raises(ConfigError) as caught:
        load([tmp_path / "empty.yaml"], {})
    assert [problem.path for problem in caught.value.problems] == ["version", "apis"]
    assert {problem.file for problem in caught.value.problems} == {str(tmp_path / "empty.yaml")}


def test_a_path_that_the_system_refuses_is_a_problem() -> None:
    """Whatever the operating system says about it."""
    with pytest.raises(ConfigError, match="cannot be read: File name too long; check the path"):
        load(["/" + "x" * 5000], {})


def test_a_bad_file_does_not_hide_the_mistakes_of_another(tmp_path: Path) -> None:
    """Every file is read, whatever is wrong with the first."""
    write(tmp_path, a="log: [", b=API + "drain: {timeout: 5}")
    with pytest.raises(ConfigError) as caught:
        load([tmp_path], {})
    assert [Path(problem.file).name for problem in caught.value.problems] == ["a.yaml", "b.yaml"]


def test_a_failure_tells_what_to_watch(tmp_path: Path) -> None:
    """A secret that appears later mends the configuration."""
    write(tmp_path, a=API + f"admin_token: ${{file:{tmp_path}/token}}\n")
    with pytest.raises(ConfigError, match="does not exist") as caught:
        load([tmp_path], {})
    assert caught.value.watched == (tmp_path, tmp_path / "a.yaml", tmp_path / "token")


def test_secrets_are_used_and_never_shown(tmp_path: Path) -> None:
    """Not in what is effective, not in the digest's input, not in a representation."""
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    write(tmp_path, a=f"version: 1\nadmin_token: ${{file:{token}}}\napis: {{x: {{url: 'https://${{env:HOST}}/v1'}}}}")
    config = load([tmp_path / "a.yaml"], {"HOST": "hidden.example"})
    assert (config.admin_token, config.apis[0].host) == ("s3cret", "hidden.example")
    assert config.effective["admin_token"] == "****"
    assert config.effective["apis"]["x"]["url"] == "https://****/v1"
    assert token in config.watched
    assert "s3cret" not in repr(config)


def test_a_token_in_the_file_is_masked_too(loads: Callable[[str], Config]) -> None:
    """The effective configuration is shown by the admin interface."""
    assert loads(API + "admin_token: abc\n").effective["admin_token"] == "****"


def test_the_environment_gives_numbers_and_switches(loads: Callable[..., Config]) -> None:
    """What it gives is text, and read as if it stood in the file."""
    text = (
        "version: 1\napis: {x: {url: http://x, retry: {attempts: '${env:N}', safe: '${env:S}'}, breaker: '${env:B}'}}"
    )
    (api,) = loads(text, N="7", S="true", B="off").apis
    assert api.policies.retry is not None
    assert (api.policies.retry.attempts, api.policies.retry.safe, api.policies.breaker) == (7, True, None)


def test_the_digest_is_that_of_what_is_effective(loads: Callable[[str], Config]) -> None:
    """Another spelling of the same is the same; another value is not."""
    same = [loads(API + f"drain: {{timeout: {text}}}").digest for text in ("60s", "1m", "'1m'")]
    assert len({*same}) == 1
    assert loads(API).digest not in same


def test_a_configuration_survives_a_process_boundary(loads: Callable[[str], Config]) -> None:
    """It may be loaded in a process of its own, which takes pydantic's memory with it."""
    config = loads(API)
    assert pickle.loads(pickle.dumps(config)) == config


def test_yaml_and_pydantic_are_imported_by_the_first_load_only() -> None:
    """Memory is a feature: what is only needed to load need not be there before."""
    code = "import sys; import proxy.config.load, proxy.config.reload; print({'yaml', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout == "set()\n"


KEYS = st.sampled_from(
    sorted({"x", "<<", "cache", *(key for model in Model.__subclasses__() for key in keys_of(model))})
)
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-2, 600), st.sampled_from(["off", "http://x", "1s", "${env:A}", "/"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)


def flow(value: object) -> str:
    """YAML in flow style."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower().replace("none", "~")


def loads_or_complains(folder: Path, text: str) -> None:
    path = folder / "any.yaml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        load([path], {"A": "1"})
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - it is the only exception, and never an empty one
        assert all(problem.line >= 1 and problem.remedy for problem in error.problems)  # noqa: PT017


@given(value=VALUES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_structure_loads_or_raises_config_error(value: object, tmp_path: Path) -> None:
    """Keys of ours with values of any kind in any place: nothing but a configuration or a ConfigError."""
    loads_or_complains(
        tmp_path, f"version: 1\napis: {{x: {{url: http://x, retry: {flow(value)}}}, y: {flow(value)}}}\n"
    )
    loads_or_complains(tmp_path, flow(value))


@given(text=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_loads_or_raises_config_error(text: str, tmp_path: Path) -> None:
    """Whatever somebody calls a configuration."""
    loads_or_complains(tmp_path, text)
