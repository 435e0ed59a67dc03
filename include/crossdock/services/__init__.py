"""What a person may see and do: the functions that the console and the command line call alike.

In: a connection, the person who asks, what is asked. Out: plain typed answers. Never: HTTP, HTML, a word on a terminal;
an answer or a change that the person has no right to.
"""
