#!/bin/sh
# After unpacking: the agent's user and the mode of /etc/pgark. It starts nothing: there is no configuration yet. An agent that runs goes on with
# the program that it was started with until it is restarted.
set -e

# dpkg calls it for other ends too; rpm says 1 or 2.
case "$1" in
configure | 1 | 2) ;;
*) exit 0 ;;
esac

if command -v systemd-sysusers >/dev/null 2>&1; then
	systemd-sysusers pgark.conf || true
fi
if getent group pgark >/dev/null 2>&1; then
	chgrp pgark /etc/pgark
	chmod 0750 /etc/pgark
else
	# Nobody but root reads it until there is the group.
	chmod 0700 /etc/pgark
	echo "pgark: the user pgark could not be made: useradd --system --home-dir /var/lib/pgark pgark, then chgrp pgark /etc/pgark && chmod 0750 /etc/pgark" >&2
fi
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload || true
fi
