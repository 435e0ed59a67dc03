"""How two systems are compared on one thing: what each record says about which key, and what explains a difference.

In: nothing. Out: subjects, as values. A flow says in its `reconcile.py` how its two sides are compared; the
reconciliation finds it there.
"""
