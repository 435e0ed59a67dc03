"""Alembic's entry: runs the migrations on the engine that `store.database.migrate` hands over."""

from alembic import context

from crossdock.store.registry import SCHEMAS, metadata

with context.config.attributes["engine"].connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_schemas=True,
        include_name=lambda name, kind, parents: kind != "schema" or name in SCHEMAS,
        version_table="crossdock_version",
        compare_server_default=False,
    )
    with context.begin_transaction():
        # Two processes may start at once: the second waits here and then finds nothing to do.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended('crossdock:migrate', 0))")
        context.run_migrations()
