"""Admission reviews as an API server sends them: written out in tests/kubernetes/reviews, and what is answered."""

from __future__ import annotations

import base64
import json
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import jsonpatch

Document = dict[str, Any]
FOLDER: Final = Path(__file__).parents[1] / "kubernetes" / "reviews"
NAMES: Final = tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


def recorded(name: str, **request: Any) -> Document:
    """A review by the name of its file, with some of its request said otherwise."""
    document: Document = json.loads((FOLDER / f"{name}.json").read_text())
    document["request"] |= request
    return document


def patched(review: Document, answer: Document) -> Document:
    """What becomes of the review's pod."""
    operations = json.loads(base64.b64decode(answer["response"]["patch"], validate=True))
    pod: Document = jsonpatch.apply_patch(deepcopy(review["request"]["object"]), operations)
    return pod
