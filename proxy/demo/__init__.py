"""The demonstration: the same unreliable vendor seen by an agent directly and through Backstay.

Started by ``backstay demo`` (proxy/cli.py). Nothing here is in the path of a real call.

schedule.py  what happens when, and the fate of every call: pure, from one seed
vendor.py    an API that obeys the schedule
agent.py     an ordinary agent: a standard-library program that knows nothing of Backstay
sidecar.py   the real ``backstay run`` as a child process
stats.py     what each agent has seen so far
verdict.py   what it means, in sentences and as checks
screen.py    the live picture, or lines where there is no terminal
stage.py     starts all of them, and ends all of them
"""

from __future__ import annotations

from typing import Final

DURATION: Final = 45.0
"""Seconds of the usual story; a shorter one is the same, faster."""
SHORTEST: Final = 6.0
"""Seconds below which there is nothing to see."""
SEED: Final = 9
"""Which of all stories is told if nobody asks for another: one whose draws come close to the announced shares."""
