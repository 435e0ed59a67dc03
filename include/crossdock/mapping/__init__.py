"""The mapping files' language: read a table, check it against both contracts, run it on frames, describe it.

In: tables that an analyst edits, frames of source documents. Out: frames of target documents, problems, a page.
Never: a business rule; those come by entry point and are known by their names.
"""
