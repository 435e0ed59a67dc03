#!/bin/bash
# Postgres runs this once, when its volume is new: Crossdock's own database beside Airflow's. Its owner may make roles,
# for the migration makes a loader and a reader.
set -euo pipefail
psql -v ON_ERROR_STOP=1 -v password="$CROSSDOCK_DB_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE crossdock LOGIN CREATEROLE PASSWORD :'password';
CREATE DATABASE crossdock OWNER crossdock ENCODING 'UTF8';
SQL
