"""Runs Channel Advisor and TIMS as servers over HTTP, and plays the trade around them: for the demo and the tests.

In: the contracts of both systems, a month of real trade. Out: answers as the systems give them. Never: Airflow.
"""
