"""TIMS as a server: all of `include/contracts/tims.yaml` but webhook subscriptions.

In: requests as the contract says. Out: answers and refusals as the contract says. Never: a request accepted that the
contract refuses. Operations without a handler are answered like an unknown path.
"""
