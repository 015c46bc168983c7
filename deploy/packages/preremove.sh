#!/bin/sh
# Before the program goes, not before a newer one comes: the agent and the drills end, and do not begin again at the next start of the host. Nor do they where no
# systemd runs, as in an image that is being made.
set -e
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
command -v systemctl >/dev/null 2>&1 || exit 0
now=
if [ -d /run/systemd/system ]; then
	now=--now
	echo "pgark: nothing is archived any more. The replication slot stays, and the server keeps WAL for it: select pg_drop_replication_slot('pgark')" >&2
fi
for timer in /etc/systemd/system/*.wants/pgark-drill@*.timer; do
	if [ -L "$timer" ]; then
		systemctl disable $now "${timer##*/}" >/dev/null 2>&1 || true
	fi
done
systemctl disable $now pgark.service >/dev/null 2>&1 || true
