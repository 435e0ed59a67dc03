"""The pages inside Airflow's web UI.

In: requests of people whom Airflow knows. Out: pages that the library has made, as they are kept. Never: a page for
somebody who is not logged in; a heavy import before a page is asked for.
"""
