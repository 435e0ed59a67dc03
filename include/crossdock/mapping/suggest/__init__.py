"""Suggests where a target field comes from: from names, types, descriptions, and above all from values of records that
both systems hold.

In: two contracts, the mappings that there are, a sample of records as both sides have them. Out: ranked suggestions
with a confidence and the reasons in words; neighbours of unknown codes; a draft of a mapping. Never: a database, the
network, a file that is written, a mapping that a person has made changed.
"""
