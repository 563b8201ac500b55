"""Tests of configurations for pods: what a pod carries, what a ConfigMap says, and whose secrets nobody looks up."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config.settings import Address
from proxy.kubernetes.model import Refused
from proxy.kubernetes.supply import carried, from_cluster, from_config_map

API = "version: 1\napis: {a: {url: https://a.test}}\n"
LISTEN = "version: 1\nlisten: {agent: 127.0.0.1:7171}\n"


def test_files_and_folders_are_carried_by_their_names(tmp_path: Path) -> None:
    """Together they are one configuration."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.yaml").write_text(API)
    (tmp_path / "folder" / "notes.txt").write_text("{")
    (tmp_path / "b.yml").write_text(LISTEN)
    supply = carried([tmp_path / "folder", tmp_path / "b.yml"])
    assert supply.files == {"a.yaml": API, "b.yml": LISTEN}
    assert supply.config_map is None
    assert [api.name for api in supply.config.apis] == ["a"]
    assert supply.config.listen.agent == Address("127.0.0.1", 7171)


@pytest.mark.parametrize("name", ["backstay.json", "-.yaml", f"{'x' * 60}.yaml", "a b.yaml"])
def test_a_name_that_no_annotation_can_have_is_refused(tmp_path: Path, name: str) -> None:
    """Its name is a part of the annotation's."""
    (tmp_path / name).write_text(API)
    with pytest.raises(Refused, match=r"a pod cannot carry a file of this name; call it something\.yaml"):
        carried([tmp_path / name])


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    """One would hide the other."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.yaml").write_text(API)
    with pytest.raises(Refused, match=r"b/x\.yaml: there is another file of this name, .*a/x\.yaml; rename one"):
        carried([tmp_path / "a", tmp_path / "b"])


def test_a_configuration_too_large_for_a_pod_is_refused(tmp_path: Path) -> None:
    """The API server would refuse every pod of it."""
    (tmp_path / "x.yaml").write_text(API + "#" * (192 << 10))
    with pytest.raises(Refused, match="a pod can carry 196608 in its annotations; put it into a ConfigMap"):
        carried([tmp_path / "x.yaml"])


def test_a_folder_without_files_is_refused(tmp_path: Path) -> None:
    """An agent without any api is a mistake of a path."""
    with pytest.raises(Refused, match=r"there is no \*.yaml file; put one there, or name it"):
        carried([tmp_path])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """With what the system says."""
    with pytest.raises(Refused, match=r"x\.yaml: the file cannot be read: No such file or directory; check the path"):
        carried([tmp_path / "x.yaml"])


def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    """As ``backstay check`` does."""
    (tmp_path / "x.yaml").write_text("version: 1\napis:\n  a: {ulr: https://a.test}\n")
    with pytest.raises(Refused, match=r"x\.yaml:3:.*did you mean 'url'"):
        carried([tmp_path])


def test_a_secret_that_is_written_out_is_not_carried(tmp_path: Path) -> None:
    """Annotations are read by whoever may read pods; a ConfigMap is its owner's own affair."""
    text = API + "admin_token: 0123456789abcdef\n"
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(Refused) as refused:
        carried([tmp_path])
    assert str(refused.value) == (
        f"{tmp_path}/x.yaml:3:1: admin_token: a secret is written out; write ${{env:NAME}} or ${{file:/path}}; whoever "
        "may read pods reads what they carry; or put it into a ConfigMap, and name that by backstay.dev/config"
    )
    assert from_config_map("ways", {"x.yaml": text}).config.admin_token


def test_the_yaml_keys_of_a_config_map_are_the_configuration() -> None:
    """Others are somebody else's, and so are those that begin with a dot."""
    supply = from_config_map("ways", {"a.yaml": API, "b.yml": LISTEN, "readme": "{", ".c.yaml": "{"})
    assert supply.config_map == "ways"
    assert supply.files == {}
    assert (supply.config.apis[0].host, supply.config.listen.agent.port) == ("a.test", 7171)


@pytest.mark.parametrize(("data", "there"), [({}, "it is empty"), ({"conf": "", "b": ""}, "it has b, conf")])
def test_a_config_map_without_yaml_is_refused(data: dict[str, str], there: str) -> None:
    """Backstay would find nothing in its folder."""
    with pytest.raises(Refused) as refused:
        from_config_map("ways", data)
    assert str(refused.value).startswith(f"ConfigMap ways: no key of it ends in .yaml ({there}); put the configuration")


def test_a_mistake_in_a_config_map_is_told_with_its_key_and_line() -> None:
    """All of them, for whoever made the pod."""
    with pytest.raises(Refused) as refused:
        from_config_map("ways", {"a.yaml": API, "b.yaml": "version: 1\nlisten: {agent: here}\nlog: {level: loud}\n"})
    assert "ConfigMap ways, key b.yaml:2:" in str(refused.value)
    assert "; ConfigMap ways, key b.yaml:3:" in str(refused.value)


def test_what_a_configuration_refers_to_is_not_looked_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files and variables of the process that reads it are not the pod's, and must not get into one."""
    secret = tmp_path / "token"
    secret.write_text("top-secret")
    monkeypatch.setenv("OURS", "top-secret")
    text = (
        API.replace("https://a.test", "'https://a.test/${env:OURS}'")
        + f"tls_intercept: {{ca_dir: '/x${{file:{secret}}}'}}\n"
    )
    supply = from_config_map("ways", {"a.yaml": text})
    assert "top-secret" not in repr(supply)


def test_what_a_configuration_refers_to_need_not_be_there() -> None:
    """It is in the pod; a default is taken."""
    text = (
        "version: 1\nadmin_token: ${file:/secrets/admin}\nlisten: {agent: '127.0.0.1:${env:PORT:-7171}'}\n"
        "apis: {a: {url: '${env:A}', upstream_proxy: '${env:B}', "
        "fallback: [{status: 200, body: '${api} $${x} ${env:C}'}]}}\n"
    )
    config = from_config_map("ways", {"a.yaml": text}).config
    assert config.listen.agent.port == 7171
    assert config.apis[0].policies.fallback is not None


def test_what_has_to_be_known_outside_the_pod_is_named_as_it_is_written() -> None:
    """A reference is no duration, whatever it stands for."""
    with pytest.raises(Refused, match=r"drain\.timeout: .*\$\{env:DRAIN\}.* needs a default: \$\{env:NAME:-30s\}"):
        from_config_map("ways", {"a.yaml": API + "drain: {timeout: '${env:DRAIN}'}\n"})
    found = from_config_map("ways", {"a.yaml": API + "drain: {timeout: '${env:DRAIN:-45s}'}\n"})
    assert found.config.drain_timeout == 45


@pytest.mark.parametrize(
    "data", [{}, {"conf": "a"}, {"a.yaml": "secret: of others\nversion: 2\n"}, {"conf": "version: 1"}]
)
def test_a_config_map_of_somebody_elses_is_not_quoted(data: dict[str, str]) -> None:
    """Who reaches the webhook names any namespace: neither keys nor values of what is no configuration come out."""
    with pytest.raises(Refused) as refused:
        from_cluster("ways", data)
    assert str(refused.value) == (
        "ConfigMap ways: no key of it ends in .yaml and says version: 1; put the configuration there"
    )


def test_a_config_map_in_the_cluster_has_a_limit() -> None:
    """Reading a MiB takes half a minute, in which other pods would wait."""
    assert from_cluster("ways", {"a.yaml": API}).config_map == "ways"
    with pytest.raises(Refused, match="a configuration may have 196608"):
        from_cluster("ways", {"a.yaml": API + "#" * 196608})


def test_references_in_a_config_map_are_not_followed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a tenant would have the injector read its own files and environment out to him."""
    (tmp_path / "token").write_text("TOP")
    monkeypatch.setenv("TOP", "SECRET")
    for reference in ("${env:TOP}", f"${{file:{tmp_path / 'token'}}}"):
        for text in (f"admin_token: {reference}\n", f"log: {{level: '{reference}'}}\n", f"x{reference}: 1\n"):
            try:
                said = repr(from_cluster("ways", {"a.yaml": API + text}))
            except Refused as refused:
                said = str(refused)
            assert "SECRET" not in said
            assert "TOP" not in said.replace("env:TOP", "")
