"""Channel Advisor as a server, held to `include/contracts/channel_advisor.yaml`.

In: HTTP requests of an application, events of the world. Out: answers as the contract has them. Never: a field, a
status or a rule that the contract does not know; the sandbox's own controls live below `/_sandbox/`.

| module | holds |
|---|---|
| account | applications, refresh tokens, profiles, carriers |
| values | amounts, times, field errors |
| rules | what an order allows: status, shipping, totals; pure functions on documents |
| repository | how documents are kept |
| named | the profile and the products that a call names |
| orders, products, stock, prices, listings, shipments, returns, lists, batches | the operations |
| world | events: what buyers, marketplaces and the account's staff do |
| server | tokens, refusals, validation of bodies |

Served: tokens, orders, exported marks, shipments, returns, products, inventory, prices, promotions, listings, sites,
distribution centers.
"""
