"""Prints what each step of a program came to, one line each. It knows nothing of HTTP."""

import re
import time


def step(name, act):
    """Print ``name`` and what ``act`` returns, or how it failed."""
    try:
        print(name, act(), flush=True)
    except Exception as error:
        print(name, "failed:", blame(error), flush=True)


def blame(error):
    """One line on an exception."""
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:600]


def streamed(pieces):
    """How many pieces came, and for how many seconds."""
    times = [time.monotonic() for piece in pieces if piece]
    return f"{len(times)} {times[-1] - times[0]:.2f}"


def often(act):
    """How eight calls ended, and what the last one said."""
    ends = []
    for _ in range(8):
        try:
            act()
            ends.append("ok")
        except Exception as error:
            ends.append(blame(error))
    return f"{ends.count('ok')} ok, last: {ends[-1]}"
