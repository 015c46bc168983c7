#!/bin/sh
# What of the official image's entrypoint compose.yaml relies on: as root it becomes postgres; an empty folder becomes a cluster, by POSTGRES_INITDB_ARGS and
# POSTGRES_HOST_AUTH_METHOD; the SQL of /docker-entrypoint-initdb.d is run once.
set -eu
[ "$1" = postgres ] || exec "$@"
if [ "$(id -u)" = 0 ]; then
	mkdir -p "$PGDATA" /var/run/postgresql
	chown postgres "$PGDATA" /var/run/postgresql
	chmod 3775 /var/run/postgresql
	exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	# shellcheck disable=SC2086 # several arguments in one variable, as in the official image
	initdb -D "$PGDATA" -U postgres ${POSTGRES_INITDB_ARGS:-}
	printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
	# On no address: whoever waits for the server is to find it when all is done.
	pg_ctl -D "$PGDATA" -w -o "-c listen_addresses='' -c unix_socket_directories=/tmp" start
	for file in /docker-entrypoint-initdb.d/*.sql; do
		[ -e "$file" ] && psql -h /tmp -U postgres -v ON_ERROR_STOP=1 -f "$file"
	done
	pg_ctl -D "$PGDATA" -w -m fast stop
fi
exec "$@"
