"""Small charts within a line of text, as SVG.

In: numbers, the oldest first. Out: an SVG picture that says in words what it shows. Never: a style, a script, a size
that depends on the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

BAR, GAP, HEIGHT = 4, 1, 24


def spark(hours: Sequence[int]) -> Markup:
    """One bar an hour; an hour without anything is a dot on the ground."""
    most = max(hours, default=0)
    width = len(hours) * (BAR + GAP)
    bars = Markup().join(
        Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>').format(
            number * (BAR + GAP), HEIGHT - height, BAR, height, "bar" if count else "none"
        )
        for number, count in enumerate(hours)
        for height in (_height(count, most),)
    )
    words = (
        f"Delivered in {len(hours)} hours, hour by hour: at most {most:,}, {hours[-1]:,} in the last." if hours else ""
    )
    return Markup(
        '<svg class="spark" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">'
        "<title>{}</title>{}</svg>"
    ).format(words, width, HEIGHT, width, HEIGHT, words, bars)  # fmt: skip


def _height(count: int, most: int) -> int:
    return max(round(count / most * HEIGHT), 3) if count else 1
