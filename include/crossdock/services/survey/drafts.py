"""What a survey proposes, as texts of the configuration's files.

In: findings. Out: files with the proposed rows and lines in them, for a version that is proposed and not in force.
Never: a row with a cell that a person must fill in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from crossdock.services.survey.findings import Finding
from crossdock.settings import config_dir

_TOP = re.compile(r"^([A-Za-z_]+):", re.MULTILINE)
SITES = "sites.yaml"


def files(findings: Iterable[Finding]) -> dict[str, str]:
    """The new text of each file for which a whole row or line is proposed, by its path."""
    made: dict[str, str] = {}
    for one in findings:
        proposal = one.proposal
        if one.state != "open" or proposal is None or not proposal.sure:
            continue
        text = made.get(proposal.path) or (config_dir() / proposal.path).read_text("utf-8")
        keys = _TOP.findall(text) if proposal.path == SITES else []
        if keys and keys[-1] != "sites":
            continue  # its lines would not stand below `sites`
        made[proposal.path] = f"{text.rstrip()}\n{proposal.text.rstrip()}\n"
    return made
