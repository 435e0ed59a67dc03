"""All subjects, in the order of the report: those here, then those that flows bring in their `reconcile.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from crossdock import flows
from crossdock.comparison.subject import Subject
from crossdock.config.suggest import nearest
from crossdock.errors import ConfigError
from crossdock.watch.reconcile import catalogue, customers, fulfilment, orders

_OF_FLOWS = tuple(flows.modules("reconcile"))


def _with_flows(subject: Subject) -> Subject:
    """The subject, explained also by flows that carry what it compares."""
    more = [one for module in _OF_FLOWS for one in getattr(module, "EXPLAINS", {}).get(subject.name, ())]
    return replace(subject, explained=(*more, *subject.explained)) if more else subject


SUBJECTS: dict[str, Subject] = {
    subject.name: _with_flows(subject)
    for subject in (
        orders.ORDERS_SUBJECT, orders.ORDER_TOTALS, orders.PAYMENTS, customers.CUSTOMERS, fulfilment.SHIPMENTS,
        fulfilment.INVOICES, fulfilment.RETURNS, catalogue.QUANTITIES, catalogue.PRODUCTS, catalogue.PRICES,
        *(subject for module in _OF_FLOWS for subject in module.SUBJECTS),
    )
}  # fmt: skip


def chosen(names: Sequence[str] = ()) -> list[Subject]:
    """The subjects by these names; all of them where no name is given. Raises ConfigError for an unknown name."""
    for name in names:
        if name not in SUBJECTS:
            near = nearest(name, list(SUBJECTS))
            raise ConfigError(
                f"There is no subject {name!r} to reconcile.",
                do=f"Did you mean {near!r}?" if near else f"There are {', '.join(SUBJECTS)}.",
            )
    return [subject for subject in SUBJECTS.values() if not names or subject.name in names]
