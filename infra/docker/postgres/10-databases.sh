#!/usr/bin/env bash
# Runs once, when the database volume is empty: one database and one role for each service.
# Names and passwords are passed as psql variables, so any character in them is quoted correctly.
set -euo pipefail

create_database() {
    local name=$1 password=$2
    psql --set ON_ERROR_STOP=1 --no-psqlrc \
        --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
        --set name="$name" --set password="$password" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
REVOKE CONNECT ON DATABASE :"name" FROM PUBLIC;
SQL
}

create_database dagster "$DAGSTER_DB_PASSWORD"
create_database mlflow "$MLFLOW_DB_PASSWORD"
