"""Loading in a process of its own, which takes the memory of YAML and pydantic with it when it ends.

May be called by ``app`` instead of ``load``: it costs the start of an interpreter and saves some 17 MB for good.
The child reads a pickled question from its parent and writes a pickled answer.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from proxy.config.load import load
from proxy.config.problems import ConfigError
from proxy.config.settings import Config

_ROOT: Final = str(Path(__file__).parents[2])  # where ``proxy`` is imported from
_MAIN: Final = f"""
import sys
sys.path.insert(0, {_ROOT!r})
from proxy.config.apart import answer
sys.stdout.buffer.write(answer(sys.stdin.buffer.read()))
"""


def load_apart(paths: Sequence[Path | str], env: Mapping[str, str]) -> Config:
    """What ``load`` gives or raises; raises OSError if there can be no such process. Blocks meanwhile."""
    asked = pickle.dumps(([str(path) for path in paths], dict(env)))
    done = subprocess.run([sys.executable, "-c", _MAIN], input=asked, capture_output=True, check=False)  # noqa: S603 - ourselves
    if done.returncode != 0:
        raise OSError(f"the process that loads the configuration failed: {done.stderr.decode(errors='replace')[-500:]}")
    answered = pickle.loads(done.stdout)  # noqa: S301 - our own child's
    if isinstance(answered, ConfigError):
        raise answered
    assert isinstance(answered, Config)  # noqa: S101 - answer() gives nothing else
    return answered


def answer(asked: bytes) -> bytes:
    """The child's part: paths and environment in, a Config or a ConfigError out, both pickled."""
    paths, env = pickle.loads(asked)  # noqa: S301 - our own parent's
    result: Config | ConfigError
    try:
        result = load(paths, env)
    except ConfigError as error:
        result = error
    answered = io.BytesIO()
    _Pickler(answered).dump(result)
    return answered.getvalue()


class _Pickler(pickle.Pickler):
    """Settings travel as calls of their constructors: compiled classes cannot be filled in by pickle."""

    def reducer_override(self, obj: Any) -> Any:
        """See pickle.Pickler."""
        if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
            return type(obj), tuple(getattr(obj, field.name) for field in dataclasses.fields(obj))
        return NotImplemented
