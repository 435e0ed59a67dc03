"""The pages, a file per topic. Each only reads; what its forms and buttons change goes through the API.

In: a request and its person. Out: HTML, whole or the part that htmx asks for. Never: a change.
"""
