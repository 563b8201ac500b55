"""A configuration for a pod, and how it gets there: carried by the pod itself, or in a ConfigMap beside it.

``carried`` is called by injector.py and filter.py, ``from_cluster`` by webhook.py, ``from_config_map`` by filter.py.
What a configuration refers to (secrets, variables) is the pod's, and is not looked up here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from proxy.config.files import listing
from proxy.config.load import check_open, load_texts
from proxy.config.problems import ConfigError
from proxy.config.settings import Config
from proxy.kubernetes.model import Refused, Supply
from proxy.kubernetes.names import CARRIED

_KEY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")  # of an annotation, after its prefix
_SUFFIXES: Final = (".yaml", ".yml")
_MOST: Final = 192 << 10  # Kubernetes takes 256 KiB of annotations; the pod has others
_VERSION: Final = re.compile(r"""version["']?[ \t]*:[ \t]*["']?1\b""")
_DEFAULT: Final = "what has to be known outside of the pod needs a default: ${env:NAME:-30s}"
_BETTER: Final = "put it into a ConfigMap, and name that by backstay.dev/config"


def carried(paths: Sequence[Path]) -> Supply:
    """The configuration in files and folders here, to be carried by pods. Raises Refused."""
    files: dict[str, Path] = {}
    for path in _files(paths):
        if not path.name.endswith(_SUFFIXES) or not _KEY.fullmatch(path.name):
            raise Refused(
                f"{path}: a pod cannot carry a file of this name; call it something.yaml, "
                "with letters, digits, '-', '_' and '.', at most 63 of them"
            )
        if path.name in files:
            raise Refused(f"{path}: there is another file of this name, {files[path.name]}; rename one of them")
        files[path.name] = path
    contents = {name: _read(path) for name, path in files.items()}
    by_path = {str(files[name]): data for name, data in contents.items()}
    config = _load(by_path)
    _check_open(by_path)
    size = sum(len(CARRIED) + len(name) + len(data) for name, data in contents.items())
    if size > _MOST:
        raise Refused(f"the configuration has {size} bytes, and a pod can carry {_MOST} in its annotations; {_BETTER}")
    return Supply(config, files={name: data.decode("utf-8-sig") for name, data in contents.items()})


def from_cluster(name: str, data: Mapping[str, str]) -> Supply:
    """As ``from_config_map``, for whoever asks the webhook. Raises Refused.

    Nobody proves to the webhook that a namespace is his own: what is no configuration of Backstay is not quoted.
    """
    texts = [text for key, text in data.items() if key.endswith(_SUFFIXES)]
    if not any(map(_VERSION.search, texts)):
        raise Refused(f"ConfigMap {name}: no key of it ends in .yaml and says version: 1; put the configuration there")
    size = sum(map(len, texts))
    if size > _MOST:
        raise Refused(f"ConfigMap {name}: it has {size} characters of YAML; a configuration may have {_MOST}")
    return from_config_map(name, data)


def from_config_map(name: str, data: Mapping[str, str]) -> Supply:
    """The configuration in a ConfigMap of the pod's namespace. Raises Refused."""
    texts = {key: text for key, text in sorted(data.items()) if key.endswith(_SUFFIXES) and not key.startswith(".")}
    if not texts:
        there = f"it has {', '.join(sorted(data))}" if data else "it is empty"
        raise Refused(f"ConfigMap {name}: no key of it ends in .yaml ({there}); put the configuration in backstay.yaml")
    config = _load({f"ConfigMap {name}, key {key}": text.encode(errors="replace") for key, text in texts.items()})
    return Supply(config, config_map=name)


def texts(paths: Sequence[Path]) -> dict[str, str]:
    """What is in files and folders, by the names of the files, as a ConfigMap would have it. Raises Refused."""
    try:
        return {path.name: _read(path).decode("utf-8-sig") for path in _files(paths)}
    except UnicodeDecodeError as error:
        raise Refused(f"{', '.join(map(str, paths))}: a file is not UTF-8: {error}; save it as UTF-8") from None


def _files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        try:
            found += listing(path) if path.is_dir() else [path]
        except OSError as error:
            raise Refused(f"{path}: the folder cannot be read: {error.strerror}; check the path") from None
    if not found:
        raise Refused(f"{', '.join(map(str, paths)) or 'no path'}: there is no *.yaml file; put one there, or name it")
    return list(dict.fromkeys(found))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{path}: the file cannot be read: {error.strerror}; check the path") from None


def _load(texts: Mapping[str, bytes]) -> Config:
    try:
        return load_texts(texts)
    except ConfigError as error:
        lines = str(error).splitlines()
        raise Refused("; ".join([*lines, *([_DEFAULT] if any("'${" in line for line in lines) else [])])) from None


def _check_open(texts: Mapping[str, bytes]) -> None:
    """Whoever may read pods reads what they carry."""
    try:
        check_open(texts)
    except ConfigError as error:
        raise Refused(
            "; ".join([*str(error).splitlines(), f"whoever may read pods reads what they carry; or {_BETTER}"])
        ) from None
