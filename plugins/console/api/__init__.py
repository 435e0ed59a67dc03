"""The JSON API, a file per topic: the only routes that change anything.

In: typed requests. Out: the answers of `crossdock.services` as JSON. Never: a rule, a statement.
"""
