#!/bin/sh
# Runs checks and tests, each whatever the ones before said, and says at the end
# what failed and what was left out. Called by the Makefile, after deploy/setup.sh:
#   deploy/test.sh [check] [pure] [camera] ["only=PACKAGE …"]
#   check    formatting, go vet, go.mod, staticcheck
#   pure     every package without OpenCV, with the race detector
#   camera   those that link it, with gocv's count of what was not freed
set -u
cd "$(dirname "$0")/.."
PATH=$PWD/bin:$PWD/.tools/bin:$PATH:/usr/local/go/bin
export PATH
# What is missing fails: a test that is left out in silence proves nothing.
export FLOORWATCH_TEST_ALL=1
camera='./edge/camera ./cmd/floorwatch-camera'
pure=$(go list ./... | grep -v -e /edge/camera -e /cmd/floorwatch-camera)
failed='' began=$(date +%s)
mkdir -p .cache
rm -f .cache/tests-*.json

step() { # what it is, command
	what=$1
	shift
	echo "==> $what"
	"$@" || failed="$failed
    $what"
}

formatted() {
	out=$(git ls-files '*.go' | xargs gofumpt -l)
	[ -z "$out" ] || { echo "not formatted, run gofumpt -w on: $out"; return 1; }
}

tests() { # name, arguments of go test
	name=$1
	shift
	gotestsum --format pkgname --format-hide-empty-pkg --jsonfile ".cache/tests-$name.json" -- "$@"
}

# ours lists the processes that our tests have started, however deep: they have
# inherited this variable.
export FLOORWATCH_TEST_RUN=$$
ours() {
	for p in /proc/[0-9]*; do
		grep -zqx "FLOORWATCH_TEST_RUN=$$" "$p/environ" 2>/dev/null || continue
		exe=$(readlink "$p/exe" 2>/dev/null) || continue
		case $exe in
		*/influxd | */mosquitto | */chromium | */ffmpeg | */floorwatch* | *.test | *.test\ *) echo "${p#/proc/} $exe" ;;
		esac
	done
}

gone() { # what tests have started has ended, within ten seconds
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		left=$(ours)
		[ -n "$left" ] || return 0
		sleep 1
	done
	echo "still running, and nobody waits for it:"
	echo "$left"
	return 1
}

for part in "$@"; do
	case $part in
	check)
		step "gofumpt" formatted
		step "go vet" go vet ./...
		step "go mod tidy -diff" go mod tidy -diff
		step "staticcheck" staticcheck ./...
		;;
	# shellcheck disable=SC2086
	pure) step "tests" tests pure -race -timeout 30m $pure ;;
	# shellcheck disable=SC2086
	camera) step "tests of what links OpenCV" tests camera -tags matprofile -timeout 15m $camera ;;
	# shellcheck disable=SC2086
	only=*) step "tests of ${part#only=}" tests only -race -timeout 30m ${part#only=} ;;
	*)
		echo "deploy/test.sh: $part is none of check, pure, camera, only=PACKAGE" >&2
		exit 2
		;;
	esac
done
if ls .cache/tests-*.json >/dev/null 2>&1; then
	step "no process is left" gone
	left=$(sed -n 's/.*"Output":"[^"]*\(left out: [^"]*\)\\n"}$/    \1/p' .cache/tests-*.json | sort | uniq -c)
	if [ -n "$left" ]; then
		echo "==> left out, each with how many tests:"
		echo "$left"
	fi
fi
echo "==> $(($(date +%s) - began)) s"
[ -z "$failed" ] || { echo "==> FAILED:$failed"; exit 1; }
echo "==> all passed"
