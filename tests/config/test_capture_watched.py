"""capture.authority_files: what is watched of an authority."""

from __future__ import annotations

from pathlib import Path

from proxy.config.load import load


def test_the_files_of_an_authority_are_watched(tmp_path: Path) -> None:
    """A secret that is renewed in place asks for a reload, whichever of its two forms it has."""
    file = tmp_path / "backstay.yaml"
    text = "version: 1\napis: {a: {url: https://a.example}}\n"
    file.write_text(text)
    assert load([file], {}).watched == (file,)
    file.write_text(f"{text}tls_intercept: {{ca_dir: {tmp_path}/ca, trust_dir: {tmp_path}/trust}}\n")
    names = ("ca.crt", "ca.key", "tls.crt", "tls.key")
    assert {tmp_path / "ca" / name for name in names} <= {*load([file], {}).watched}
