"""One package per flow: its source, mapping, checks, target, and the one rule that makes it special.

A flow is a value that the five steps in `crossdock.steps` walk. A package gives its flows as `FLOWS`; they are
found, not listed, so adding a flow is a package here.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from graphlib import TopologicalSorter

from crossdock import config, settings
from crossdock.errors import ConfigError
from crossdock.flow import Flow


def all_flows() -> dict[str, Flow]:
    """Every flow by name, in the order in which data travels: the money first, then what goes to the channel."""
    packages = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    found = [flow for name in packages for flow in importlib.import_module(f"{__name__}.{name}").FLOWS]
    return {flow.name: flow for flow in sorted(found, key=_place({flow.name: flow for flow in found}))}


def _place(flows: dict[str, Flow]) -> Callable[[Flow], tuple[bool, int]]:
    """How many flows stand in a row before one, those of money before those of offers."""
    depth: dict[str, int] = {}
    for name in TopologicalSorter({flow.name: flow.follows for flow in flows.values()}).static_order():
        depth[name] = 1 + max((depth[before] for before in flows[name].follows), default=0)
    return lambda flow: (flow.offers, depth[flow.name])


def order_to_cash() -> dict[str, Flow]:
    """The flows of orders, documents and money: the nightly close runs them all."""
    return {name: flow for name, flow in all_flows().items() if not flow.offers}


def get(name: str) -> Flow:
    """The flow of that name. Raises ConfigError naming the nearest one, or for a wrong name in flows.yaml."""
    flows = all_flows()
    if name not in flows:
        near = difflib.get_close_matches(name, flows, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"There is no flow {name!r}.{hint}", do=f"The flows are: {', '.join(flows)}.")
    if found := settings.check_flows(flows):
        raise config.refusal(found)
    return flows[name]
