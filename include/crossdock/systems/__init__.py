"""How to speak to each system: Channel Advisor, TIMS, partners' files, our own settlement ledger.

In: a connection, a path, a window. Out: pages of records as received, answers, typed errors.
Never: what a record means.
"""
