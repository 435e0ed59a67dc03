"""One package per flow: its source, mapping, checks, target, and the one rule that makes it special.

A flow is a value that the five steps in `crossdock.steps` work with. A package gives its flows as `FLOWS`; they are
found, not listed, so adding a flow is a package here.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from itertools import groupby
from types import ModuleType

from crossdock import config, settings
from crossdock.errors import ConfigError
from crossdock.flow import Flow


def all_flows() -> dict[str, Flow]:
    """Every flow by name, in the order in which data travels: documents and money first, then offers to the channel.

    Raises ConfigError for a package without `FLOWS`, and for a flow that follows an unknown one.
    """
    found = {flow.name: flow for name in _packages() for flow in _of(name)}
    for flow in found.values():
        for before in flow.follows:
            if before not in found:
                raise ConfigError(
                    f"The flow {flow.name} follows {before}, and there is none.{_near(before, found)}",
                    do=f"Correct `follows` of the flow; the flows are: {', '.join(found)}.",
                )
    return {flow.name: flow for flow in sorted(found.values(), key=_place(found))}


def _packages() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)


def packages() -> dict[str, str]:
    """Maps each flow to its package."""
    return {flow.name: package for package in _packages() for flow in _of(package)}


def modules(name: str) -> Iterator[ModuleType]:
    """Imports the modules of this name in all packages that have one."""
    for package in _packages():
        path = f"{__name__}.{package}.{name}"
        if importlib.util.find_spec(path):
            yield importlib.import_module(path)


def _of(package: str) -> Sequence[Flow]:
    module = importlib.import_module(f"{__name__}.{package}")
    if not (given := getattr(module, "FLOWS", ())):
        raise ConfigError(
            f"The package {module.__name__} has no FLOWS.", do="End its __init__.py with FLOWS = (the flow,)."
        )
    return given


def _place(flows: Mapping[str, Flow]) -> Callable[[Flow], tuple[bool, int]]:
    """Makes the sort key of flows: offers last, then by the length of the chain of flows that each one follows."""
    depth: dict[str, int] = {}
    for name in TopologicalSorter({flow.name: flow.follows for flow in flows.values()}).static_order():
        depth[name] = 1 + max((depth[before] for before in flows[name].follows), default=0)
    return lambda flow: (flow.offers, depth[flow.name])


def _near(name: str, flows: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, flows, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def order_to_cash() -> dict[str, Flow]:
    """The flows of orders, documents and money: the nightly close runs them all."""
    return {name: flow for name, flow in all_flows().items() if not flow.offers}


def side_by_side() -> list[list[str]]:
    """Groups the flows of the close by package. The groups run in order; flows of one group run side by side."""
    of = packages()
    return [list(group) for _, group in groupby(order_to_cash(), key=lambda name: of[name])]


def get(name: str) -> Flow:
    """Finds a flow by name. Raises ConfigError naming the nearest one, or for a wrong name in flows.yaml."""
    flows = all_flows()
    if name not in flows:
        raise ConfigError(f"There is no flow {name!r}.{_near(name, flows)}", do=f"The flows are: {', '.join(flows)}.")
    if found := settings.check_flows(flows):
        raise config.refusal(found)
    return flows[name]
