"""What people write to each other: notes, reasons of a dismissal or a silence.

In: a text as it was typed. Out: the text without blanks around it. Never: an empty one, or one that nobody reads.
"""

from __future__ import annotations

from crossdock.errors import ConfigError

LONGEST = 500  # characters


def tidy(text: str, *, missing: str, do: str) -> str:
    """A remark as it is kept. ConfigError for none (`missing`, `do`), and for one that is too long."""
    kept = text.strip()
    if not kept:
        raise ConfigError(missing, do=do)
    if len(kept) > LONGEST:
        raise ConfigError(
            f"This text has {len(kept):,} characters; {LONGEST:,} are kept.", do="Say it shorter. Nothing was changed."
        )
    return kept
