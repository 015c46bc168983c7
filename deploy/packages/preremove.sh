#!/bin/sh
# Before the program goes, not before a newer one comes: the agent ends, and does not begin again at the next start of the host.
set -e
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now pgark.service >/dev/null 2>&1 || true
	echo "pgark: nothing is archived any more. The replication slot stays, and the server keeps WAL for it: select pg_drop_replication_slot('pgark')" >&2
fi
