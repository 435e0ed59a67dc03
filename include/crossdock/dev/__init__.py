"""What a developer's machine needs: an embedded Postgres, Airflow as a group of processes, the generated pages.

In: the run folder, the code, the configuration. Out: running processes; Markdown. Never: a word to either system.
"""
