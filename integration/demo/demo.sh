#!/usr/bin/env bash
# The main job, shown: archive a PostgreSQL under load, drop a table, get it back as it was just before.
# Everything lives in one temporary folder and is gone afterwards.
#
#   integration/demo/demo.sh bin/pgark
set -euo pipefail

built=$(realpath "$1")
cd "$(dirname "$0")/../.."
postgres=$(realpath .parts/pg15/bin)
demo=$(mktemp -d -t pgark-demo.XXXXXX)
repo=file://$demo/repository
restored=$demo/restored
export LC_ALL=C.UTF-8 TMPDIR=$demo PGHOST=$demo/socket PGPORT=54329 PGUSER=postgres PGDATABASE=postgres
agent='' load=''

# PostgreSQL does not run as root: then everything runs as the user postgres.
as=()
if ((EUID == 0)); then
	as=(setpriv --reuid=postgres --regid=postgres --init-groups env HOME="$demo")
fi
run() { (cd "$demo" && exec "${as[@]}" "$@"); }
# background LOG COMMAND…: like run; its process is $!, so that it can be ended.
background() {
	local log=$1
	shift
	(cd "$demo" && exec "${as[@]}" "$@") >"$log" 2>&1 &
}

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
show() {
	printf '  $ %s\n' "$(sed "s|$demo|…|g" <<<"$*")"
	run "$demo/$@" 2>&1 | sed "s|$demo|…|g; s/^/    /"
}
# query [-h HOST -p PORT] SQL
query() { run "$postgres_client" -XAtq "$@"; }
# until SECONDS COMMAND…: waits for an event, and fails when it does not come.
await() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || { echo "demo: gave up waiting for: $*" >&2; return 1; }
		read -rt 0.2 <> <(:) || :
	done
}

clean() {
	local code=$?
	trap - EXIT INT TERM
	[[ -z $load ]] || kill "$load" 2>/dev/null || :
	[[ -z $agent ]] || kill "$agent" 2>/dev/null || :
	for data in "$restored" "$demo/data"; do
		[[ ! -f $data/postmaster.pid ]] || run "$postgres/pg_ctl" -D "$data" -m immediate -s stop || :
	done
	wait 2>/dev/null || :
	if ((code)) && [[ -s $demo/agent.log ]]; then
		echo "demo: failed; the agent said:" >&2
		tail -20 "$demo/agent.log" >&2
	fi
	rm -rf "$demo"
	exit "$code"
}
trap clean EXIT
trap 'exit 130' INT TERM

postgres_client=$(command -v psql)
install -m 755 "$built" "$demo/pgark"
mkdir "$demo/socket"
chmod 755 "$demo"
((EUID)) || chown -R postgres "$demo"

step "1. A PostgreSQL $("$postgres/postgres" --version | grep -o '[0-9.]*' | head -1) with its stock settings"
run "$postgres/initdb" --pgdata="$demo/data" --username=postgres --auth=trust --data-checksums >"$demo/initdb.log"
run "$postgres/pg_ctl" -D "$demo/data" -o "-p $PGPORT -k $demo/socket -c listen_addresses=''" -l "$demo/postgres.log" -s -w start
run pgbench -i -q -s 10 2>/dev/null
query -c "create table orders as select n as id, md5(n::text) as item, now() as placed from generate_series(1, 100000) n"
echo "  pgbench tables of scale 10 and a table orders of 100000 rows"

step "2. pgark beside it: two words of set-up, no restart"
printf '  $ pgark run file://…/repository &\n'
background "$demo/agent.log" "$demo/pgark" run "$repo"
agent=$!
await 60 grep -q '"base backup done"' "$demo/agent.log"
show pgark list "$repo"

step "3. Load, then a mistake"
background "$demo/pgbench.log" pgbench -n -c 4 -T 600
load=$!
await 30 query -c "select 1 / (count(*) > 3000)::int from pgbench_history"
query -c "update orders set item = item || '!' where id % 10 = 0"
before=$(query -c "select count(*), md5(string_agg(o::text, ' ' order by id)) from orders o")
target=$(query -c "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
query -c "drop table orders"
echo "  orders just before: ${before/|/ rows, md5 }"
echo "  at $target somebody says: drop table orders"
transactions=$(query -c "select count(*) from pgbench_history")
await 30 query -c "select 1 / (count(*) > $transactions + 1000)::int from pgbench_history"
kill "$load" && wait "$load" 2>/dev/null || :
load=''
echo "  the load goes on meanwhile: $(query -c "select count(*) from pgbench_history") transactions"
show pgark status "$repo"

step "4. Back to just before the mistake, in a server beside the old one"
show pgark restore --repo "$repo" --to "$target" --into "$restored" --start --port 54330 --yes

step "5. The proof"
socket=$(sed -n 5p "$restored/postmaster.pid")
after=$(query -h "$socket" -p 54330 -c "select count(*), md5(string_agg(o::text, ' ' order by id)) from orders o")
balanced=$(query -h "$socket" -p 54330 -c "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history)")
echo "  orders restored:    ${after/|/ rows, md5 }"
[[ $after == "$before" ]] || { echo "  the rows differ" >&2; exit 1; }
[[ $balanced == t ]] || { echo "  accounts and history differ" >&2; exit 1; }
echo "  equal; and the accounts agree with the history to the last transaction"

step "Done in $SECONDS s. Everything is removed again."
