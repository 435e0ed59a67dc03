"""TIMS as a server: customers, items, stock, sales orders and shipments of `include/contracts/tims.yaml`.

In: requests as the contract says. Out: answers and refusals as the contract says. Never: leniency; what the contract
refuses is refused here. Operations without a handler are answered like an unknown path.
"""
