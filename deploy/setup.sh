#!/bin/sh
# Installs what floorwatch needs and is missing, and says what and why. A second
# run finds everything there and does nothing. Called by the Makefile:
#   deploy/setup.sh run    what `make run` needs
#   deploy/setup.sh deb    what `make deb` needs
#   deploy/setup.sh test   what `make test` needs on top of that
#   deploy/setup.sh check  the checkers alone, which need nothing but Go
# Debian packages come from Debian 12, the rest by explicit version through the
# Go module proxy and npm. Nothing is put outside the project but Debian packages.
set -eu

INFLUXD_VERSION=v1.8.10
GOFUMPT_VERSION=v0.9.2
STATICCHECK_VERSION=v0.7.0
GOTESTSUM_VERSION=v1.13.0
UPLOT_VERSION=1.6.32
OPENCV_DOC_VTEST=./usr/share/doc/opencv-doc/examples/data/vtest.avi
VTEST_SHA256=45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf

cd "$(dirname "$0")/.."
tools=$PWD/.tools
# Colours, and counters that write over themselves, are for terminals.
terminal=
[ ! -t 1 ] || terminal=1
say() { if [ -n "$terminal" ]; then printf '\033[1m==>\033[0m %s\n' "$*"; else printf '==> %s\n' "$*"; fi; }
count() { [ -z "$terminal" ] || printf '\r    '"$@"; }
counted() { if [ -n "$terminal" ]; then echo; else printf '    '"$@" && echo; fi; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# package [command-or-file that shows it is there] why
missing='' reasons=''
need() {
	package=$1 why=$2
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] && return 0
	missing="$missing $package"
	reasons="$reasons    $package: $why
"
}

# progress turns apt's lines into one that counts; errors pass through.
progress() {
	fetched=0 unpacked=0 ready=0
	while read -r line; do
		case $line in
		Get:*) fetched=$((fetched + 1)) ;;
		Unpacking*) unpacked=$((unpacked + 1)) ;;
		"Setting up"*) ready=$((ready + 1)) ;;
		E:* | Err:*) printf '\n%s\n' "$line" && continue ;;
		*) continue ;;
		esac
		count 'fetched %d, unpacked %d, set up %d packages' $fetched $unpacked $ready
	done
	counted 'fetched %d, unpacked %d, set up %d packages' $fetched $unpacked $ready
}

install_packages() {
	[ -n "$missing" ] || return 0
	say "Debian packages to install:"
	printf '%s' "$reasons"
	[ "$(id -u)" = 0 ] || die "installing Debian packages needs root; run: sudo apt-get install$missing"
	apt-get -qq update || die "apt-get update failed; check the network and /etc/apt"
	case "$missing " in *" postgresql "*) # the tests start their own; none shall run beside them
		mkdir -p /etc/postgresql-common/createcluster.d
		echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/floorwatch.conf ;;
	esac
	# shellcheck disable=SC2086
	log=$(mktemp)
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o Dpkg::Use-Pty=0 $missing 2>"$log" |
		progress
	grep -v -e 'debconf: delaying package configuration' -e '^invoke-rc.d: ' "$log" >&2 || true
	rm -f "$log"
	for package in $missing; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)" = installed ] ||
			die "$package could not be installed; run: apt-get install$missing"
	done
}

packages() {
	[ -r /etc/os-release ] && . /etc/os-release
	[ "${VERSION_ID:-}" = 12 ] || say "this is ${PRETTY_NAME:-not Debian}; floorwatch is made for Debian 12 (gocv v0.31.0 needs its OpenCV 4.6)"
	need ca-certificates "certificates, without which the Go module proxy cannot be reached"
	need libopencv-dev "OpenCV 4.6, which the camera worker sees with"
	need g++ "compiles the camera worker's bridge to OpenCV"
	need pkg-config "tells that compiler where OpenCV is"
	[ "$1" = deb ] || need ffmpeg "records cameras and serves the demonstration film as one"
	command -v npm >/dev/null || need npm "fetches the chart library of the pages (with Node)"
	if [ "$1" = test ]; then
		need chromium "the tests open the pages in a real browser"
		need fonts-wqy-microhei "a Chinese font for that browser"
		need mosquitto "the tests deliver through a real MQTT broker"
		need postgresql "the tests keep metadata in a real Postgres, too, which they start themselves"
		if [ -d ../shared/tools ]; then # real cases with truth, and their scorers
			need python3-numpy "the scorers of the real cases beside the project need it"
			need python3-scipy "the scorers of the real cases beside the project need it"
		fi
		need openssl "the tests check signatures with a second tool"
		need iproute2 "the tests run box, broker and cloud in networks of their own"
		need e2fsprogs "the fault bench cuts the power of disks of its own"
		need mount "and mounts them"
		need systemd "the tests check the service units with systemd-analyze"
	fi
	install_packages
}

go_present() {
	command -v go >/dev/null || die "Go is not on PATH; install Go 1.26 (https://go.dev/dl) and try again"
}

# built TOOL VERSION PACKAGE what it is: compiles a Go program into .tools/bin, once
# for each version, and says so.
built() {
	name=$1 version=$2 package=$3 what=$4
	[ "$(cat "$tools/$name.version" 2>/dev/null || true)" = "$version" ] && [ -x "$tools/bin/$name" ] && return 0
	say "building $name $version, $what"
	mkdir -p "$tools/bin"
	: >"$tools/$name.log"
	GOBIN="$tools/bin" CGO_ENABLED=0 GOFLAGS=-buildvcs=false go install -v "$package@$version" 2>"$tools/$name.log" &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		count '%d packages compiled' "$(wc -l <"$tools/$name.log")"
		sleep 1
	done
	counted '%d packages compiled' "$(wc -l <"$tools/$name.log")"
	wait $pid || { tail -n 20 "$tools/$name.log" >&2; die "$name could not be built; the lines above say why"; }
	echo "$version" >"$tools/$name.version"
}

influxd() { built influxd $INFLUXD_VERSION github.com/influxdata/influxdb/cmd/influxd "the database (one to two minutes)"; }

# checkers are what `make check` and `make test` run beside the compiler.
checkers() {
	built gofumpt $GOFUMPT_VERSION mvdan.cc/gofumpt "which checks the formatting"
	built staticcheck $STATICCHECK_VERSION honnef.co/go/tools/cmd/staticcheck "which reads the code for mistakes (a minute)"
	built gotestsum $GOTESTSUM_VERSION gotest.tools/gotestsum "which runs the tests, a line for each package as it ends"
}

charts() {
	stamp=cloud/web/static/vendor/.version
	[ "$(cat $stamp 2>/dev/null || true)" = "$UPLOT_VERSION" ] && return 0
	say "fetching uPlot $UPLOT_VERSION, the chart library of the pages"
	# npm's progress writes control codes into any output.
	(cd cloud/web && export npm_config_progress=false TERM=dumb && npm ci --silent --no-audit --no-fund && npm run --silent vendor) </dev/null ||
		die "npm could not fetch the chart library; check the network and run: make web"
	echo "$UPLOT_VERSION" >$stamp
}

film() {
	[ -s .cache/film.mp4 ] && return 0
	mkdir -p .cache
	if [ ! -s .cache/vtest.avi ]; then
		say "fetching the demonstration film out of Debian's opencv-doc (96 MB, unpacked without installing)"
		rm -rf .cache/deb && mkdir -p .cache/deb
		[ -n "$(find /var/lib/apt/lists -name '*_Packages*' 2>/dev/null | head -n 1)" ] || apt-get -qq update
		(cd .cache/deb && apt-get -o APT::Sandbox::User=root download opencv-doc) || die "opencv-doc could not be fetched; run apt-get update and try again"
		dpkg-deb --fsys-tarfile .cache/deb/*.deb | tar -xO $OPENCV_DOC_VTEST >.cache/vtest.tmp
		echo "$VTEST_SHA256  .cache/vtest.tmp" | sha256sum -c --quiet || die "vtest.avi is not the film that the figures of this project were measured on"
		mv .cache/vtest.tmp .cache/vtest.avi
		rm -rf .cache/deb
	fi
	say "encoding the film to H.264, one key frame a second"
	ffmpeg -nostdin -loglevel error -y -i .cache/vtest.avi -an -c:v libx264 -preset fast -crf 20 -pix_fmt yuv420p \
		-g 10 -keyint_min 10 -sc_threshold 0 -bf 0 -movflags +faststart -f mp4 .cache/film.tmp
	mv .cache/film.tmp .cache/film.mp4
}

case "${1:-}" in
run | test | deb)
	packages "$1"
	go_present
	influxd
	charts
	[ "$1" = deb ] || film
	[ "$1" != test ] || checkers
	;;
check)
	go_present
	checkers
	;;
*) die "say what for: deploy/setup.sh run | deb | test | check" ;;
esac
