"""``${env:NAME}``, ``${env:NAME:-default}`` and ``${file:/path}`` in values; ``$${`` stands for ``${``.

Called by ``load.py``. Whatever was expanded counts as a secret, and so do a token and the password in a url:
the scalar keeps a masked text beside its value, and only that is ever shown.

In the answers of a fallback, the templates of ``core/fallback.py`` stay, to be filled in at each call. There, and
only there, a literal ``${api}`` keeps the second dollar sign that tells it from the template.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping as EnvMapping
from pathlib import Path
from typing import Final

from proxy.config.document import Mapping, Scalar, walk
from proxy.config.problems import Problems
from proxy.config.urls import MASK, masked, masked_proxy, masked_redis
from proxy.core.fallback import TEMPLATES

_MAX_SECRET: Final = 1 << 20
_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_ENV: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_LOOKED_UP: Final = re.compile(r"\$\$\{|\$\{(?:env:[A-Za-z_][A-Za-z0-9_]*(?::-([^}]*))?|file:[^}]*)\}")
_TEMPLATE: Final = re.compile(rf"\$\{{(?:{'|'.join(TEMPLATES)})\}}")
NOT_HERE: Final = "not-here"
"""What stands for a value that only another place knows, also in the midst of a text."""
_ELSEWHERE: Final = "\0"  # what is looked up; no value can have it
_STAND_INS: Final = {
    "shared": f"redis://{NOT_HERE}",
    "upstream_proxy": f"http://{NOT_HERE}:1",
    "url": f"https://{NOT_HERE}",
}  # for what must be a url
_FORMS: Final = "write ${env:NAME}, ${env:NAME:-default} or ${file:/path}; $${ stands for a literal ${"
_FORMS_BESIDE_TEMPLATES: Final = f"write {', '.join(f'${{{name}}}' for name in TEMPLATES)}, or {_FORMS[6:]}"


class _Unusable(Exception):
    """A reference that cannot be expanded: what is wrong, and what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def expand(root: Mapping, env: EnvMapping[str, str], problems: Problems, *, afar: bool = False) -> list[Path]:
    """Expand every value below ``root`` in place; gives the files that were read or should have been.

    ``afar``: for a place that has no secrets; where there ought to be one, there is a stand-in.
    """
    files: list[Path] = []
    for path, _, node in list(walk(root)):
        if isinstance(node, Scalar) and isinstance(node.value, str) and "${" in node.value:
            if afar and _is_secret(path):
                node.value = _without(node.value, path)
            _expand_scalar(node, path, env, files, problems)
        if isinstance(node, Scalar):
            _hide(node, path)
    return files


def stand_in(root: Mapping) -> None:
    """Put a default, or something of the right form, in place of every reference: nothing is looked up.

    Below a fallback's answer, its templates stay.
    """
    for path, _, node in walk(root):
        if isinstance(node, Scalar) and isinstance(node.value, str) and "${" in node.value:
            written, whole = node.value, _LOOKED_UP.fullmatch(node.value)
            if whole and whole[1] is None and path[-1] in _STAND_INS:
                node.value = _STAND_INS[path[-1]]
            else:
                node.value = _LOOKED_UP.sub(_default, written)
            node.shown = written if NOT_HERE in node.value else None


def _default(found: re.Match[str]) -> str:
    return found[0] if found[0] == "$${" else NOT_HERE if found[1] is None else found[1]


def refuse_written_out(root: Mapping, problems: Problems) -> None:
    """Note every secret that stands in the text itself, or as the default of a reference."""
    for path, mark, node in walk(root):
        if (
            isinstance(node, Scalar)
            and isinstance(node.value, str)
            and _is_secret(path)
            and _is_written_out(node, path)
        ):
            problems.add(mark, ".".join(path), "a secret is written out", "write ${env:NAME} or ${file:/path}")


def _is_written_out(node: Scalar, path: tuple[str, ...]) -> bool:
    text = _LOOKED_UP.sub(lambda found: _ELSEWHERE if found[1] is None else found[1], str(node.value))
    if path == ("admin_token",) or _is_credential(path):
        return text != "" and _ELSEWHERE not in text
    hidden = _mask_of(path)(text)
    return hidden != text and hidden.count(_ELSEWHERE) == text.count(_ELSEWHERE)


def _hide(node: Scalar, path: tuple[str, ...]) -> None:
    """Mask what is a secret by its nature, wherever it was written."""
    if path == ("admin_token",) or (_is_credential(path) and node.value not in {None, ""}):
        node.shown = MASK
    elif isinstance(node.value, str):
        text = node.value if node.shown is None else node.shown
        hidden = _mask_of(path)(text)
        node.shown = node.shown if hidden == text else hidden


def _is_credential(path: tuple[str, ...]) -> bool:
    """Whether it leads to a credential, or to what somebody took for the place of one."""
    return path[:1] + path[2:3] == ("apis", "credentials") and path[4:] != ("placeholder",)


def _is_secret(path: tuple[str, ...]) -> bool:
    """Whether nobody but Backstay has a use for it."""
    return _is_credential(path) or path in {("admin_token",), ("stores", "shared")} or path[-1] == "upstream_proxy"


def _without(text: str, path: tuple[str, ...]) -> str:
    """The same with something of the right form for each reference."""
    return _STAND_INS.get(path[-1], NOT_HERE) if _REFERENCE.fullmatch(text) else _REFERENCE.sub(NOT_HERE, text)


def _mask_of(path: tuple[str, ...]) -> Callable[[str], str]:
    if path == ("stores", "shared"):
        return masked_redis
    return masked_proxy if path[-1] == "upstream_proxy" else masked


def _expand_scalar(
    node: Scalar, path: tuple[str, ...], env: EnvMapping[str, str], files: list[Path], problems: Problems
) -> None:
    text, shown, position = "", "", 0
    source = str(node.value)
    value_of = _filled if _has_templates(path) else _secret if _is_credential(path) else _value
    for found in _REFERENCE.finditer(source):
        literal = source[position : found.start()]
        position = found.end()
        try:
            value, masked_value = value_of(found, env, files)
        except _Unusable as error:
            node.broken = True
            problems.add(node.mark, ".".join(path), error.message, error.remedy)
            return
        text += literal + value
        shown += literal + masked_value
    node.value = text + source[position:]
    shown += source[position:]
    node.shown = shown if shown != node.value else None


def _has_templates(path: tuple[str, ...]) -> bool:
    """Whether it leads to the body or to a field of a fallback's answer."""
    return path[-3:-2] == ("fallback",) if path[-1] == "body" else path[-4:-3] + path[-2:-1] == ("fallback", "headers")


def _filled(found: re.Match[str], env: EnvMapping[str, str], files: list[Path]) -> tuple[str, str]:
    """The same where templates are filled in later: they stay, and what only looks like one is escaped."""
    if _TEMPLATE.fullmatch(found[0]):
        return found[0], found[0]
    if found[0] == "$${" and _TEMPLATE.match(found.string, found.start() + 1):
        return found[0], found[0]
    value, shown = _value(found, env, files, _FORMS_BESIDE_TEMPLATES)
    return _TEMPLATE.sub(r"$\g<0>", value), shown


def _secret(found: re.Match[str], env: EnvMapping[str, str], files: list[Path]) -> tuple[str, str]:
    """The same where nothing would be sent in its place."""
    value, shown = _value(found, env, files)
    if not value:
        kind, _, rest = found[1].partition(":")
        what = f"the file {rest}" if kind == "file" else f"the environment variable {rest.partition(':-')[0]}"
        raise _Unusable(f"{what} is empty", "put the credential there")
    return value, shown


def _value(found: re.Match[str], env: EnvMapping[str, str], files: list[Path], forms: str = _FORMS) -> tuple[str, str]:
    """The value of a reference, and how it is shown."""
    if found[0] == "$${":
        return "${", "${"
    name, closed = found[1], found[2]
    if closed and (variable := _ENV.fullmatch(name)):
        return _from_env(variable[1], variable[2], env), MASK
    if closed and name.startswith("file:"):
        return _from_file(name.removeprefix("file:"), files), MASK
    raise _Unusable("a reference cannot be read", forms)


def _from_env(name: str, default: str | None, env: EnvMapping[str, str]) -> str:
    value = env.get(name, "")
    if not value and default is not None:
        return default
    if name not in env:
        remedy = f"set it, or give a default: ${{env:{name}:-default}}"
        raise _Unusable(f"the environment variable {name} is not set", remedy)
    return _text(value.encode("utf-8", "surrogatepass"), f"the environment variable {name}")


def _from_file(name: str, files: list[Path]) -> str:
    path = Path(name)
    if not path.is_absolute() or "\0" in name:
        raise _Unusable("a ${file:} reference needs an absolute path", "write ${file:/path/of/the/secret}")
    files.append(path)
    try:
        if not path.is_file():  # a pipe or a device would block; a folder cannot be read
            raise _Unusable(f"the file {name} does not exist", "mount it there, or correct the path")
        with path.open("rb") as stream:
            data = stream.read(_MAX_SECRET + 1)
    except OSError as error:
        raise _Unusable(f"the file {name} cannot be read: {error.strerror}", "check its mode and owner") from None
    if len(data) > _MAX_SECRET:
        raise _Unusable(f"the file {name} is larger than 1 MiB", "check that it is the right file")
    return _text(data, f"the file {name}").rstrip("\r\n")


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _Unusable(f"{what} is not UTF-8", "save it as UTF-8") from None
