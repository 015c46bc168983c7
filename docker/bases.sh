#!/usr/bin/env bash
# Makes what the images and compose.yaml begin with, for an engine that reaches no registry: of Debian's packages, this machine's Go and the S3 server of
# tools.mod, under the names that the files say. images.sh calls it, for an engine of its own alone: nobody else is to find these under those names.
#
# Grafana is not in Debian, so that it has no stand-in.
set -euo pipefail
cd "$(dirname "$0")/.."
debian=$PWD/.parts/debian.tar

# said prints the value of an ARG of the Dockerfile, with the ones before it filled in.
said() {
	local PG_MAJOR
	PG_MAJOR=$(sed -n 's/^ARG PG_MAJOR=//p' docker/Dockerfile)
	sed -n "s/^ARG $1=//p" docker/Dockerfile | head -1 | sed "s/\${PG_MAJOR}/$PG_MAJOR/"
}

# image prints the image of compose.yaml that begins so.
image() { sed -n "s,^ *image: \($1:[^ ]*\).*,\1,p" docker/compose.yaml | head -1; }

# from builds a Dockerfile of docker/bases under a name; further arguments are tar's, for what the Dockerfile copies.
from() {
	local file=$1 name=$2
	shift 2
	tar -c -C "$PWD/docker/bases" "$file.Dockerfile" postgres-entrypoint.sh "$@" |
		docker build -q --build-arg PG_MAJOR="$(said PG_MAJOR)" -f "$file.Dockerfile" -t "$name" - >/dev/null
	echo "made here: $name"
}

docker import "$debian" pgark.test/debian >/dev/null
modules=$(mktemp -d)
trap 'chmod -R u+w "$modules" && rm -rf "$modules"' EXIT
GOPROXY=file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY) GOMODCACHE=$modules go mod download
goroot=$(go env GOROOT)
from golang "$(said GO_IMAGE)" --exclude=./test --exclude=./api --exclude=./doc \
	--transform='s,^\./cache/download,modules,' --transform="s,^\./,go/," -C "$goroot" . -C "$modules" ./cache/download
from postgres "$(said SERVER_IMAGE)"
from versitygw "$(image versity/versitygw)" -C "$PWD/.parts" versitygw
from prometheus "$(image prom/prometheus)"
