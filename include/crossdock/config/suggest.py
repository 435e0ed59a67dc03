"""The nearest right name to a wrong one.

In: what somebody wrote, and what they could have written. Out: the nearest, or "". Never: a guess put in place of
what was written.
"""

from __future__ import annotations

from collections.abc import Iterable

from rapidfuzz import fuzz, process, utils


def nearest(name: str, choices: Iterable[str], *, at_least: int = 55) -> str:
    """The choice most like `name` ("" when none resembles it), letter case and punctuation aside."""
    found = process.extractOne(
        str(name), list(choices), scorer=fuzz.WRatio, processor=utils.default_process, score_cutoff=at_least
    )
    return found[0] if found else ""


def ended(sentence: str) -> str:
    """The sentence with a full stop, unless it ends in a question."""
    return sentence if sentence.endswith(("?", ".")) else f"{sentence}."


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`; did you mean 'X'?`, or the choices themselves when nothing resembles `name` and they are few."""
    offered = list(choices)
    near = nearest(name, offered)
    if near:
        return f"; did you mean {near!r}?"
    return f"; there are {', '.join(map(repr, offered))}" if 0 < len(offered) <= 12 else ""
