"""Reads mapping files, checks them against both contracts, runs them on frames and describes them.

In: tables that an analyst edits, frames of source documents. Out: frames of target documents, problems, a page.
Never: a business rule; those come by entry point and are known by their names.
"""
