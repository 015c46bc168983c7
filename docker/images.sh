#!/usr/bin/env bash
# Builds the images and all of compose.yaml, and runs them: make images.
#
# A Docker engine that answers is used, and pulls what the images begin with. Where none does, root starts one for the time of the tests, in namespaces of
# its own: its network leads nowhere, its mounts and processes end with it, and no rule of this host's firewall is touched. What the images begin with
# is made here then, by bases.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
test=(-test.v -test.timeout=60m -test.run="${RUN:-.}")

work=$(mktemp -d /var/tmp/pgark-images.XXXXXX)
engine=
finish() {
	[[ -z $engine ]] || kill "$engine" 2>/dev/null || true
	find /sys/fs/cgroup -depth -type d -path "*/${work##*/}*" -exec rmdir {} + 2>/dev/null || true
	rm -rf "$work"
}
trap finish EXIT

# inside is what runs in the namespaces.
inside() {
	ip link set lo up
	mount -t proc proc /proc
	dockerd --data-root "$work/data" --exec-root "$work/exec" --pidfile "$work/pid" --host "$DOCKER_HOST" --cgroup-parent "/${work##*/}" \
		</dev/null >"$work/log" 2>&1 &
	local engine=$! waited=0 code=0
	until docker version >/dev/null 2>&1; do
		if ! kill -0 "$engine" 2>/dev/null || ((++waited > 300)); then
			cat "$work/log" >&2
			exit 1
		fi
		sleep 0.2
	done
	docker/bases.sh && (cd docker && PGARK_TEST_NO_IMAGES=grafana "$work/test" "${test[@]}") || code=$?
	kill "$engine"
	wait "$engine" || true
	exit "$code"
}

go test -c -tags images -o "$work/test" ./docker
if docker version >/dev/null 2>&1; then
	(cd docker && "$work/test" "${test[@]}")
	exit
fi
((EUID == 0)) || {
	echo "images: no Docker engine answers, and only root can start one" >&2
	exit 1
}
integration/parts.sh versitygw engine
export work DOCKER_HOST="unix://$work/docker.sock"
export -f inside
declare -p test >"$work/arguments"
unshare --net --mount --pid --fork --kill-child bash -euo pipefail -c "source '$work/arguments'; inside" &
engine=$!
wait "$engine"
engine=
