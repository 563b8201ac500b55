"""What the vendors say, each in its own dialect. Used by ``vendor.py``; knows no sockets.

The dialect is told by the path, as it is the same whatever host it is reached by.
"""

from __future__ import annotations

import binascii
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs

CASES: Final = ("plain", "stream", "flaky", "down", "cached", "once")
WORDS: Final = ("hello", "there", "agent")
LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)
Piece: TypeAlias = bytes


@dataclass(frozen=True)
class Asked:
    """A request, as far as the answer depends on it."""

    dialect: str
    case: str
    stream: bool = False
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Whole:
    """An answer that is no stream."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


def understand(method: str, path: str, body: bytes) -> Asked:
    """Who is asked, and for what."""
    said = _read(body)
    match path.strip("/").split("/"):
        case ["v1", "customers", *named]:
            return Asked("stripe", _case(named[0] if named else said["description"][0]))
        case ["v1" | "v1beta", "models", named]:
            model, _, verb = named.partition(":")
            return Asked("gemini", _case(model), verb.startswith("stream"), said)
        case ["model", model, verb]:
            return Asked("bedrock", _case(model), verb.endswith("-stream"), said)
        case ["agent-files", key]:
            return Asked("s3", _case(key))
        case ["mcp"]:
            return _understand_mcp(method, said)
        case ["v1" | "v1beta", *more]:
            return _understand_fixed("/".join(more), said)
    return Asked("rest", "other")


def _understand_fixed(path: str, said: dict[str, Any]) -> Asked:
    """Paths in which nothing varies."""
    match path:
        case "chat/completions":
            return Asked("openai", _case(said["model"]), said.get("stream", False), said)
        case "embeddings":
            return Asked("embeddings", _case(said["model"]), body=said)
        case "messages":
            return Asked("anthropic", _case(said["model"]), said.get("stream", False), said)
        case "models":
            return Asked("models", "cached")
        case "quotes/qt_1/pdf":
            return Asked("file", "stream", stream=True)
    return Asked("rest", _case(path), stream=path == "stream")


def _read(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    try:
        said = json.loads(body)
    except ValueError:
        return dict(parse_qs(body.decode("latin-1")))
    return said if isinstance(said, dict) else {}


def _case(text: str) -> str:
    return next((case for case in CASES if case in text), "other")


def _understand_mcp(method: str, said: dict[str, Any]) -> Asked:
    if method != "POST":
        return Asked("mcp-none", "other", body=said)
    if said.get("method") != "tools/call":
        return Asked("mcp", "other", body=said)
    name = said["params"]["name"]
    return Asked("mcp", _case(name), stream=name == "stream", body=said)


def failure(asked: Asked) -> dict[str, Any]:
    """The body of a 503 (all dialects read the message, or nothing of it)."""
    return {"error": {"message": f"{asked.dialect} is out of order", "type": "api_error", "code": 503}}


# --- answers --------------------------------------------------------------------------------------------------


def whole(asked: Asked, number: int) -> Whole:
    """The answer to the call that is the ``number``th of its case."""
    if asked.dialect == "s3":
        # An object may carry its own Cache-Control: its uploader's word that all may share it.
        return Whole(
            f"{number}".encode(), headers={"Content-Type": "text/plain", "Cache-Control": "public, max-age=60"}
        )
    if asked.dialect == "mcp-none":
        return Whole(b"", 405, {})
    if asked.dialect == "mcp" and "id" not in asked.body:
        return Whole(b"", 202, {})
    return Whole(json.dumps(_WHOLE[asked.dialect](asked, number)).encode())


def _rest(asked: Asked, number: int) -> dict[str, Any]:
    return {"text": "hello there agent", "number": number}


def _models(asked: Asked, number: int) -> dict[str, Any]:
    model = {"id": f"model-{number}", "object": "model", "type": "model", "created": 1, "owned_by": "vendor"}
    anthropic = {"display_name": "Model", "created_at": "2026-01-01T00:00:00Z"}
    page = {"has_more": False, "first_id": model["id"], "last_id": model["id"]}
    gemini = {"models": [{"name": f"models/model-{number}", "displayName": "Model"}]}
    return {"object": "list", "data": [{**model, **anthropic}], **page, **gemini}  # each reads its own part


def _openai(asked: Asked, number: int) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": " ".join(WORDS)}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1,
        "model": asked.body["model"],
        "choices": [choice],
        "usage": usage,
    }


def _embeddings(asked: Asked, number: int) -> dict[str, Any]:
    vector = {"object": "embedding", "index": 0, "embedding": [float(number)]}
    return {
        "object": "list",
        "data": [vector],
        "model": asked.body["model"],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }


def _anthropic(asked: Asked, number: int) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": asked.body["model"],
        "content": [{"type": "text", "text": " ".join(WORDS)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 3},
    }


def _stripe(asked: Asked, number: int) -> dict[str, Any]:
    return {"id": f"cus_{number}", "object": "customer", "description": " ".join(WORDS)}


def _gemini(asked: Asked, number: int) -> dict[str, Any]:
    return _gemini_piece(" ".join(WORDS), number)


def _gemini_piece(text: str, number: int) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "responseId": f"r-{number}", "modelVersion": "test"}


def _bedrock(asked: Asked, number: int) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": " ".join(WORDS)}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 3, "totalTokens": 4 + number},
        "metrics": {"latencyMs": number},
    }


def _mcp(asked: Asked, number: int) -> dict[str, Any]:
    said = asked.body
    results: dict[str, dict[str, Any]] = {
        "initialize": {
            "protocolVersion": said.get("params", {}).get("protocolVersion", "2025-06-18"),
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "vendor", "version": "1"},
        },
        "tools/list": {"tools": [{"name": case, "inputSchema": {"type": "object"}} for case in CASES]},
        "tools/call": {"content": [{"type": "text", "text": f"{' '.join(WORDS)} {number}"}], "isError": False},
    }
    if said["method"] not in results:
        return {"jsonrpc": "2.0", "id": said["id"], "error": {"code": -32601, "message": "Method not found"}}
    return {"jsonrpc": "2.0", "id": said["id"], "result": results[said["method"]]}


_WHOLE: Final[dict[str, Callable[[Asked, int], dict[str, Any]]]] = {
    "rest": _rest,
    "models": _models,
    "openai": _openai,
    "embeddings": _embeddings,
    "anthropic": _anthropic,
    "stripe": _stripe,
    "gemini": _gemini,
    "bedrock": _bedrock,
    "mcp": _mcp,
}

# --- streams --------------------------------------------------------------------------------------------------


def stream_type(asked: Asked) -> str:
    """The media type of its stream."""
    types = {"bedrock": "application/vnd.amazon.eventstream", "file": "application/pdf"}
    return types.get(asked.dialect, "text/event-stream")


def pieces(asked: Asked, number: int) -> Iterator[Piece]:
    """What is sent, with a pause between each two: one word in each, and what its dialect wants around it."""
    frames = _FRAMES[asked.dialect](asked, number)
    yield from (b"".join(frames[word]) for word in range(len(WORDS)))


def _event(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def _around(before: list[bytes], words: list[bytes], after: list[bytes]) -> list[list[bytes]]:
    return [[*before, words[0]], [words[1]], [words[2], *after]]


def _rest_frames(asked: Asked, number: int) -> list[list[bytes]]:
    return _around([], [_event(word) for word in WORDS], [])


def _file_frames(asked: Asked, number: int) -> list[list[bytes]]:
    return _around([], [f"{word}\n".encode() for word in WORDS], [])


def _openai_frames(asked: Asked, number: int) -> list[list[bytes]]:
    def chunk(word: str) -> bytes:
        choice = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
        return _event({**_openai(asked, number), "object": "chat.completion.chunk", "choices": [choice], "usage": None})

    return _around([], [chunk(word) for word in WORDS], [_event("[DONE]")])


def _anthropic_frames(asked: Asked, number: int) -> list[list[bytes]]:
    def event(name: str, **more: Any) -> bytes:
        return _event({"type": name, **more}, name)

    block = {"type": "text", "text": ""}
    begun = event("message_start", message={**_anthropic(asked, number), "content": [], "stop_reason": None})
    ended = event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 3})
    words = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": word}) for word in WORDS]
    return _around(
        [begun, event("content_block_start", index=0, content_block=block)],
        words,
        [event("content_block_stop", index=0), ended, event("message_stop")],
    )


def _gemini_frames(asked: Asked, number: int) -> list[list[bytes]]:
    return _around([], [_event(_gemini_piece(word, number)) for word in WORDS], [])


def _mcp_frames(asked: Asked, number: int) -> list[list[bytes]]:
    token = asked.body["params"].get("_meta", {}).get("progressToken", 0)

    def progress(done: int) -> bytes:
        params = {"progressToken": token, "progress": done, "total": 3}
        return _event({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}, "message")

    return _around([], [progress(1), progress(2), progress(3)], [_event(_mcp(asked, number), "message")])


def _bedrock_frames(asked: Asked, number: int) -> list[list[bytes]]:
    words = [_aws_event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in WORDS]
    begun, ended = (
        _aws_event("messageStart", {"role": "assistant"}),
        _aws_event("messageStop", {"stopReason": "end_turn"}),
    )
    return _around([begun], words, [ended])


def _aws_event(name: str, payload: dict[str, Any]) -> bytes:
    """A message of AWS's binary event stream: lengths, their CRC, headers (type 7: string), payload, CRC of all."""
    fields = {":message-type": "event", ":event-type": name, ":content-type": "application/json"}
    headers = b"".join(
        struct.pack(f">B{len(key)}sBH", len(key), key.encode(), 7, len(value)) + value.encode()
        for key, value in fields.items()
    )
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + headers + body
    return message + struct.pack(">I", binascii.crc32(message))


_FRAMES: Final[dict[str, Callable[[Asked, int], list[list[bytes]]]]] = {
    "rest": _rest_frames,
    "file": _file_frames,
    "openai": _openai_frames,
    "anthropic": _anthropic_frames,
    "gemini": _gemini_frames,
    "bedrock": _bedrock_frames,
    "mcp": _mcp_frames,
}
