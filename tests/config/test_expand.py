"""References in values: what they expand to, what is refused, and that nothing of it is ever shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.config.document import Scalar, display, plain, read, walk
from proxy.config.expand import expand
from proxy.config.problems import Problems


def expanded(value: str, **env: str) -> Scalar:
    """The node of a value after expansion; fails on any problem."""
    (root,) = read(f"a: {value}\n".encode(), "f", Problems())
    problems = Problems()
    expand(root, env, problems)
    assert not problems, problems.error([])
    node = root.entries["a"].node
    assert isinstance(node, Scalar)
    return node


def refused(value: str, **env: str) -> str:
    """What is said about a value that cannot be expanded."""
    (root,) = read(f"a: {value}\n".encode(), "f", Problems())
    problems = Problems()
    expand(root, env, problems)
    assert root.entries["a"].node.broken
    return str(problems.error([]))


@pytest.mark.parametrize(
    ("value", "env", "text", "shown"),
    [
        ("${env:A}", {"A": "x"}, "x", "'****'"),
        ("Bearer ${env:A}!", {"A": "x"}, "Bearer x!", "'Bearer ****!'"),
        ("${env:A}${env:B}", {"A": "x", "B": "y"}, "xy", "'********'"),
        ("${env:A:-d}", {}, "d", "'****'"),
        ("${env:A:-d}", {"A": ""}, "d", "'****'"),
        ("${env:A:-d}", {"A": "x"}, "x", "'****'"),
        ("${env:A:-}", {}, "", "'****'"),
        ("${env:A}", {"A": ""}, "", "'****'"),
        ("$${env:A}", {}, "${env:A}", "'${env:A}'"),
        ("${env:A}", {"A": "${env:B}"}, "${env:B}", "'****'"),
        ("$5 and $A", {}, "$5 and $A", "'$5 and $A'"),
    ],
)
def test_expands_the_environment(value: str, env: dict[str, str], text: str, shown: str) -> None:
    """A value is expanded once, and shown with a mask where it was."""
    node = expanded(value, **env)
    assert (node.value, display(node)) == (text, shown)


def test_expands_files_without_their_last_newline(tmp_path: Path) -> None:
    """Secrets are mounted as files, and editors end files with a newline; such files are watched."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret\r\n")
    (root,) = read(f"a: [x, 'Bearer ${{file:{secret}}}']".encode(), "f", Problems())
    assert expand(root, {}, Problems()) == [secret]
    assert plain(root) == {"a": ["x", "Bearer s3cret"]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("${env:A}", "f:1:4: a: the environment variable A is not set; set it, or give a default: ${env:A:-default}"),
        ("${A}", "a reference cannot be read; write ${env:NAME}"),
        ("'${env:A'", "a reference cannot be read"),
        ("${env:1A}", "a reference cannot be read"),
        ("${file:secret}", "a ${file:} reference needs an absolute path"),
        ("${file:/no/such/file}", "the file /no/such/file does not exist; mount it there"),
        ("${file:/}", "the file / does not exist"),
        ('"${file:/x\\0}"', "needs an absolute path"),
        ("${file:/" + "x" * 300 + "/" + "y" * 5000 + "}", "f:1:4: a: the file"),
    ],
)
def test_refuses_what_cannot_be_expanded(value: str, message: str) -> None:
    """A missing variable or file is a mistake with a line, never an empty secret."""
    assert message in refused(value)


def test_refuses_secrets_that_are_no_text(tmp_path: Path) -> None:
    """Neither bytes that are not UTF-8 nor a file of the wrong size is a secret."""
    (tmp_path / "binary").write_bytes(b"\xff")
    (tmp_path / "large").write_bytes(b"x" * (1 << 20) + b"x")
    assert "is not UTF-8" in refused(f"${{file:{tmp_path}/binary}}")
    assert "is larger than 1 MiB" in refused(f"${{file:{tmp_path}/large}}")
    assert "the environment variable A is not UTF-8" in refused("${env:A}", A="\udcff")


def test_refuses_a_secret_that_cannot_be_read() -> None:
    """The reason of the operating system is passed on."""
    assert "cannot be read: Input/output error; check its mode" in refused("${file:/proc/self/mem}")


def test_masks_secrets_that_are_written_in_the_file() -> None:
    """A token, and the password in a url, are secrets wherever they stand."""
    text = b"admin_token: abc\nstores: {shared: 'redis://:p/w@x/0'}\nurl: 'http://u:pw@${env:HOST}/'\nn: [1]"
    (root,) = read(text, "f", Problems())
    expand(root, {"HOST": "h"}, Problems())
    stores: Any = root.entries["stores"].node
    assert display(root.entries["admin_token"].node) == "'****'"
    assert display(stores.entries["shared"].node) == "'redis://****@x/0'"
    assert display(root.entries["url"].node) == "'http://****@****/'"


def answer(body: str, env: dict[str, str] | None = None, where: str = "body: {}") -> Scalar:
    """The node of the body, or of whatever ``where`` makes of it, after expansion."""
    text = f"defaults: {{fallback: [{{{where.format(body)}}}]}}"
    (root,) = read(text.encode(), "f", Problems())
    problems = Problems()
    expand(root, env or {}, problems)
    assert not problems, problems.error([])
    *_, (_, _, node) = walk(root)
    assert isinstance(node, Scalar)
    return node


@pytest.mark.parametrize(
    ("body", "text", "shown"),
    [
        (
            "'${api}: ${reason}, ${retry_after}'",
            "${api}: ${reason}, ${retry_after}",
            "${api}: ${reason}, ${retry_after}",
        ),
        ("'${api} ${env:A}'", "${api} x", "${api} ****"),
        ("'$${api} ${api}'", "$${api} ${api}", "$${api} ${api}"),
        ("'$$${api}'", "$$${api}", "$$${api}"),
        ("'$${other} $${'", "${other} ${", "${other} ${"),
        ("'${env:B}'", "$${api} ${b}", "****"),
    ],
)
@pytest.mark.parametrize("where", ["body: {}", "headers: {{x-a: {}}}"])
def test_templates_of_an_answer_stay(body: str, text: str, shown: str, where: str) -> None:
    """They are filled in at each call; what only looks like one, in a secret or behind a second $, never is."""
    node = answer(body, {"A": "x", "B": "${api} ${b}"}, where)
    assert (node.value, node.shown or node.value) == (text, shown)


@pytest.mark.parametrize("where", ["body: '${foo}'", "headers: {x-a: '${foo}'}"])
def test_what_is_no_template_is_refused_with_those_there_are(where: str) -> None:
    """A slip of the finger would be sent to every agent as it stands."""
    (root,) = read(f"apis: {{x: {{routes: [{{fallback: [{{{where}}}]}}]}}}}".encode(), "f", Problems())
    problems = Problems()
    expand(root, {}, problems)
    (problem,) = problems.error([]).problems
    assert problem.message == "a reference cannot be read"
    assert problem.remedy.startswith("write ${api}, ${reason}, ${retry_after}, or ${env:NAME}")


@pytest.mark.parametrize(
    "text",
    ["body: '${api}'", "fallback: [{api: '${api}'}]", "fallback: {body: '${api}'}", "headers: {fallback: '${api}'}"],
)
def test_templates_are_for_answers_only(text: str) -> None:
    """Anywhere else, a template is a reference that cannot be read."""
    (root,) = read(text.encode(), "f", Problems())
    problems = Problems()
    expand(root, {}, problems)
    assert len(problems.error([]).problems) == 1
