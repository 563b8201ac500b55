"""Loading: files in, a Config out, or every mistake at once.

Called by ``cli`` (check, explain, run) and ``app`` (start and reload). YAML and pydantic are imported with the
first call and not before, because their memory is only needed then.
"""

from __future__ import annotations

from collections.abc import Mapping as EnvMapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from proxy.config.files import listing
from proxy.config.problems import ConfigError, Mark, Problem, Problems
from proxy.config.settings import Config

if TYPE_CHECKING:
    from proxy.config.document import Mapping

_CHECK_PATH: Final = "check the path, and that this user may read it"

__all__ = ["ConfigError", "Problem", "check_open", "load", "load_texts"]


def load(paths: Sequence[Path | str], env: EnvMapping[str, str], *, afar: bool = False) -> Config:
    """The configuration in ``paths`` (files, or folders of ``*.yaml`` and ``*.yml``), merged into one.

    ``afar``: for somebody in another place, an agent's or a pipeline's, who asks what it says and has no secrets.
    Raises ConfigError with every mistake that can be found in one go.
    """
    from proxy.config import merge

    problems = Problems()
    files = _files(paths, problems)
    root = merge.combine(_read(files, problems), problems)
    return _checked(root, problems, files, [*map(Path, paths), *files], env, afar=afar)


def load_texts(texts: EnvMapping[str, bytes]) -> Config:
    """The same from the contents of files by their names: those of somebody else, for another place.

    They are read ``afar``, and no reference is looked up: neither this process's environment nor its files are theirs.
    """
    from proxy.config import document, expand, merge

    problems = Problems()
    roots = [root for name, data in texts.items() for root in document.read(data, name, problems)]
    root = merge.combine(roots, problems)
    expand.stand_in(root)
    return _checked(root, problems, [Path(name) for name in texts], [], {}, afar=True)


def check_open(texts: EnvMapping[str, bytes]) -> None:
    """Raises ConfigError for each secret that is written out in texts that many are going to read."""
    from proxy.config import document, expand, merge

    problems = Problems()
    roots = [root for name, data in texts.items() for root in document.read(data, name, problems)]
    expand.refuse_written_out(merge.combine(roots, problems), problems)
    if problems:
        raise problems.error([Path(name) for name in texts])


def _checked(
    root: Mapping,
    problems: Problems,
    files: Sequence[Path],
    watched: list[Path],
    env: EnvMapping[str, str],
    *,
    afar: bool,
) -> Config:
    from proxy.config import build, capture, checks, credentials, expand, pem, reserved, scopes, validate

    if problems and not root.entries:
        raise problems.error(files, watched)  # nothing was read: the rest would only say so again
    watched += expand.expand(root, env, problems, afar=afar)
    reserved.refuse(root, problems)
    document = validate.validate(root, problems)
    checks.check_document(document, root, problems)
    capture.check_capture(document, root, problems)
    credentials.check_credentials(document, root, problems)
    if not afar:
        watched += pem.check_files(document, root, problems)
        watched += capture.authority_files(document)
    merged = build.merge_policies(document, root, problems)
    scopes.check_scopes(document, root, merged, problems)
    if problems:
        raise problems.error(files, watched)
    return build.build(document, root, merged, tuple(dict.fromkeys(watched)))


def _files(paths: Sequence[Path | str], problems: Problems) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        place = Mark(str(path), 1, 1)
        try:
            found = listing(path) if path.is_dir() else [path]
        except OSError as error:
            problems.add(place, "", f"the folder cannot be read: {error.strerror}", _CHECK_PATH)
            continue
        if not found:
            problems.add(place, "", "the folder holds no *.yaml file", "put one there, or name a file")
        files += found
    return list(dict.fromkeys(files))


def _read(files: Sequence[Path], problems: Problems) -> list[Mapping]:
    from proxy.config import document

    roots = []
    for file in files:
        try:
            data = file.read_bytes()
        except OSError as error:
            problems.add(Mark(str(file), 1, 1), "", f"the file cannot be read: {error.strerror}", _CHECK_PATH)
        else:
            roots += document.read(data, str(file), problems)
    return roots
