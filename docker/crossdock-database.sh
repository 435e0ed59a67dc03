#!/bin/bash
# Postgres runs this once, when its volume is new: Crossdock's own database beside Airflow's. Its owner may make roles,
# for the migration makes a loader and a reader. The receiver of events logs in with the role that may add events only.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$CROSSDOCK_DB_PASSWORD" -v receiver="$RECEIVER_DB_PASSWORD" \
  -v airflow="$POSTGRES_DB" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE crossdock LOGIN CREATEROLE PASSWORD :'password';
CREATE ROLE crossdock_receiver LOGIN PASSWORD :'receiver';
GRANT crossdock_receiver TO crossdock WITH ADMIN OPTION;
CREATE DATABASE crossdock OWNER crossdock ENCODING 'UTF8';
REVOKE CONNECT ON DATABASE :"airflow" FROM PUBLIC;
SQL
