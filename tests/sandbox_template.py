"""What every sandbox server needs, read once: the process that servers are forked from imports this and nothing else.

It stands apart from `sandbox_servers`, so that a test's own process does not read it too.
"""

from __future__ import annotations

import sandbox_servers
from sandbox.kernel import contract

for system in sandbox_servers.SERVERS.values():
    contract.load(system.name)
