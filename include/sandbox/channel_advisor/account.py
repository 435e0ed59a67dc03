"""The account that the sandbox plays: applications, their refresh tokens, profiles and carriers.

In: nothing. Out: tables. Never: a secret that opens anything but the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass

MAIN_PROFILE = 12345678
SECOND_PROFILE = 12345679
SISTER_PROFILE = 12345680  # with the main one's currency
CURRENCIES = {MAIN_PROFILE: "GBP", SECOND_PROFILE: "USD", SISTER_PROFILE: "GBP"}  # of a profile
SITE_CURRENCIES = {640: "USD", 642: "EUR", 643: "EUR"}  # of a site that does not sell in the profile's
DIRECT_SALE = 587  # site of the orders that a client creates

APPLICATIONS = {"crossdock-sandbox": "sandbox-secret", "crossdock-second": "sandbox-secret-second"}


@dataclass(frozen=True)
class Grant:
    """What a refresh token opens."""

    application: str
    scopes: tuple[str, ...] = ("inventory", "orders")
    profiles: tuple[int, ...] = (MAIN_PROFILE,)


GRANTS = {
    "sandbox-refresh": Grant("crossdock-sandbox"),
    "sandbox-refresh-two-profiles": Grant("crossdock-sandbox", profiles=(MAIN_PROFILE, SECOND_PROFILE)),
    "sandbox-refresh-all-profiles": Grant("crossdock-sandbox", profiles=tuple(CURRENCIES)),
    "sandbox-refresh-orders": Grant("crossdock-sandbox", scopes=("orders",)),
    "sandbox-refresh-readonly": Grant("crossdock-sandbox", scopes=("inventory.readonly", "orders.readonly")),
    "sandbox-refresh-second": Grant("crossdock-second"),
}

# Carriers that the account knows, with their service classes.
CARRIERS = {
    "Chronopost": ("Express",),
    "DHL": ("Express Worldwide", "Paket"),
    "DPD": ("Next Day", "Standard"),
    "FedEx": ("2Day", "Ground", "International Economy"),
    "Hermes": ("Standard",),
    "La Poste": ("Colissimo",),
    "Other": ("Economy Delivery", "Standard"),
    "Royal Mail": ("1st Class", "2nd Class", "Special Delivery", "Tracked 24", "Tracked 48"),
    "UPS": ("Ground", "Next Day Air", "Standard"),
    "USPS": ("First Class", "Priority Mail"),
}
