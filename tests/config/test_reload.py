"""Noticing changes: by content, through symlinks and folders, once they have come to rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from proxy.clock import Clock
from proxy.config.files import listing
from proxy.config.reload import SETTLE, Fingerprints, Sleeper, watch


class Over(Exception):
    """The script of a test has ended."""


class Script:
    """A clock whose n-th sleep does the n-th thing, and takes no time."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)
        self.slept: list[float] = []

    async def sleep(self, seconds: float, /) -> None:
        self.slept.append(seconds)
        if not self._steps:
            raise Over
        self._steps.pop(0)()


def nothing() -> None:
    pass


async def changes(
    paths: Callable[[], Iterable[Path]], script: Script, on_change: Callable[[], object] = nothing
) -> int:
    """How often a change was noticed."""
    count = 0

    async def changed() -> None:
        nonlocal count
        count += 1
        on_change()

    with pytest.raises(Over):
        await watch(script, paths, 5.0, changed)
    return count


def test_a_clock_will_do() -> None:
    """The watcher asks no more of its clock than a Clock has."""
    sleeper: type[Sleeper] = Clock
    assert sleeper is Clock


async def test_what_changed_before_the_first_look_is_noticed(tmp_path: Path) -> None:
    """A file that was read, and written before anybody watched it, is read again."""
    file = tmp_path / "a.yaml"
    file.write_text("one")
    before = Fingerprints().of([file])
    file.write_text("two")
    noticed: list[str] = []

    async def changed() -> None:
        noticed.append(file.read_text())

    with pytest.raises(Over):
        await watch(Script(nothing, nothing, nothing), lambda: [file], 5.0, changed, before)
    assert noticed == ["two"]


def test_fingerprints_follow_the_content(tmp_path: Path) -> None:
    """Touching a file is no change; writing another text of the same length is one."""
    file = tmp_path / "a.yaml"
    file.write_text("one")
    fingerprints = Fingerprints()
    first = fingerprints.of([file])
    os.utime(file, (1, 1))
    assert fingerprints.of([file]) == first
    file.write_text("two")
    assert fingerprints.of([file]) != first


def test_a_change_within_one_tick_of_the_file_clock_is_seen(tmp_path: Path) -> None:
    """A stat that was seen once proves nothing yet, so that the next poll reads again."""
    file = tmp_path / "a.yaml"
    file.write_text("one")
    fingerprints = Fingerprints()
    first = fingerprints.of([file])
    seen = fingerprints._seen[file]
    file.write_text("two")
    status = file.stat()
    stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    fingerprints._seen[file] = seen._replace(stamp=stamp)  # as if the clock had not moved between the two
    assert fingerprints.of([file]) != first


def test_a_file_whose_stat_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    """Two polls prove a stat; from the third on nothing is read."""
    file = tmp_path / "a.yaml"
    file.write_text("one")
    fingerprints = Fingerprints()
    results = [fingerprints.of([file]) for _ in range(2)]
    fingerprints._seen[file] = fingerprints._seen[file]._replace(digest=b"remembered")
    assert results[0] == results[1]
    assert fingerprints.of([file]) == {file: b"remembered"}


def test_what_is_no_file_has_a_fingerprint_too(tmp_path: Path) -> None:
    """A missing file may appear; a pipe is never opened."""
    missing, pipe, loop = tmp_path / "missing", tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    fingerprints = Fingerprints()
    assert fingerprints.of([missing, pipe]) == {missing: b"unreadable", pipe: b"no regular file"}
    assert fingerprints.of([loop]) == {loop: b"unreadable"}
    missing.write_text("here")
    assert fingerprints.of([missing]) != {missing: b"unreadable"}


def test_a_folder_is_its_yaml_files(tmp_path: Path) -> None:
    """A file more or less is a change, and so is another name; notes and hidden files are none."""
    (tmp_path / "a.yaml").write_text("one")
    fingerprints = Fingerprints()
    seen = [fingerprints.of([tmp_path])]
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".b.yaml").write_text("x")
    assert fingerprints.of([tmp_path]) == seen[0]
    (tmp_path / "b.yml").write_text("two")
    seen.append(fingerprints.of([tmp_path]))
    (tmp_path / "b.yml").rename(tmp_path / "c.yml")
    seen.append(fingerprints.of([tmp_path]))
    assert len({seen[tmp_path] for seen in seen}) == 3
    assert [path.name for path in listing(tmp_path)] == ["a.yaml", "c.yml"]


@pytest.mark.parametrize("name", ["", "a.yaml"])
async def test_the_swap_of_a_config_map_is_noticed(name: str, tmp_path: Path) -> None:
    """The kubelet renames a symlink to a folder: the file that is watched is never written."""
    for folder, text in (("..1", "one"), ("..2", "two")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")

    def swap() -> None:
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").rename(tmp_path / "..data")

    assert await changes(lambda: [tmp_path / name], Script(nothing, swap, nothing, nothing)) == 1


async def test_a_change_is_believed_once_it_rests(tmp_path: Path) -> None:
    """An editor writes in pieces: the reload waits for the last one, and there is one reload."""
    file = tmp_path / "a.yaml"
    file.write_text("one")
    script = Script(nothing, lambda: file.write_text("half"), lambda: file.write_text("whole"), nothing, nothing)
    assert await changes(lambda: [file], script) == 1
    assert script.slept == [5.0, 5.0, SETTLE, SETTLE, 5.0, 5.0]


async def test_a_file_that_never_rests_is_read_at_last(tmp_path: Path) -> None:
    """Five seconds of patience, then it is taken as it is."""
    file = tmp_path / "a.yaml"
    file.write_text("start")
    texts = map(str, range(99))
    steps = [lambda: file.write_text(next(texts))] * 51
    assert await changes(lambda: [file], Script(*steps, nothing)) == 1


async def test_a_change_during_the_reload_is_not_lost(tmp_path: Path) -> None:
    """What changes while the old text is being put in force is noticed at the next poll."""
    file = tmp_path / "a.yaml"
    file.write_text("one")
    texts = iter(["three"])
    script = Script(lambda: file.write_text("two"), nothing, nothing, nothing, nothing)
    assert await changes(lambda: [file], script, lambda: file.write_text(next(texts, "three"))) == 2


async def test_a_reload_may_bring_in_other_files(tmp_path: Path) -> None:
    """A file that is new to the watcher is no change; its next change is one."""
    first, second = tmp_path / "a.yaml", tmp_path / "secret"
    first.write_text("one")
    second.write_text("s")
    watched = [first]
    script = Script(lambda: first.write_text("two"), nothing, nothing, lambda: second.write_text("t"), nothing, nothing)
    assert await changes(lambda: watched, script, lambda: watched.append(second)) == 2


async def test_a_path_that_appears_between_polls_is_no_change(tmp_path: Path) -> None:
    """Someone else has loaded a configuration that names more: that is known already."""
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("one")
    second.write_text("two")
    watched = [first]
    assert await changes(lambda: watched, Script(lambda: watched.append(second), nothing, nothing)) == 0
