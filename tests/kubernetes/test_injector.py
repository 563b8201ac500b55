"""proxy/kubernetes/injector.py: what a start needs; tests/e2e/test_injector.py has what becomes of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.cli import main
from tests.support.authority import made, put
from tests.support.injected import YAML


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = made("backstay", ca=False)
    put(tmp_path / "tls", found.pem, found.key_pem, stem="tls")
    (tmp_path / "backstay.yaml").write_text(YAML)
    (tmp_path / "settings.yaml").write_text("image: backstay:1\n")
    return tmp_path


def options(folder: Path) -> list[str]:
    """Its address is nobody's: should it get as far as to listen, it ends there."""
    named = {"--settings": "settings.yaml", "--config": "backstay.yaml", "--tls": "tls"}
    made_of = [each for option, name in named.items() for each in (option, str(folder / name))]
    return ["injector", *made_of, "--listen", "192.0.2.1:1"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"settings.yaml": "image: x\nimages: y\n"}, "settings.yaml:2:1: images: there is no such setting"),
        ({"backstay.yaml": "version: 2\n"}, "backstay.yaml:1:"),
        (
            {"backstay.yaml": YAML.replace("{transparent", "{agent: 127.0.0.1:0, transparent")},
            "listen.agent has port 0",
        ),
        ({"tls/tls.key": ""}, "tls: no certificate with its key"),
    ],
)
def test_a_bad_start_is_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], change: dict[str, str], error: str
) -> None:
    """With the place and what to do; nothing serves that could give no pod anything."""
    for name, text in change.items():
        (folder / name).write_text(text)
    assert main(options(folder)) == 1
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("name", ["settings.yaml", "backstay.yaml", "tls"])
def test_what_is_not_there_is_named(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Before anything is read."""
    (folder / name).rename(folder / "elsewhere")
    assert main(options(folder)) == 1
    assert capsys.readouterr().err == f"backstay: no such file or directory: {folder / name}\n"


@pytest.mark.parametrize("option", ["--listen", "--metrics"])
@pytest.mark.parametrize("value", ["8443", ":8443", "localhost:", "localhost:65536"])
def test_an_address_must_be_one(folder: Path, capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    """Wrong usage has an exit code of its own."""
    with pytest.raises(SystemExit) as ended:
        main([*options(folder), option, value])
    assert ended.value.code == 2
    assert f"'{value}' is not HOST:PORT" in capsys.readouterr().err
