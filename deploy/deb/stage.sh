#!/bin/sh
# Lays out what the packages take beside the programs: deploy/deb/stage.sh FOLDER.
# Units with the packages' paths, samples that work wherever a command is typed, and
# the database with its licences.
set -eu
cd "$(dirname "$0")/../.."
out=$1
mkdir -p "$out"
for name in edge cloud; do
	sed 's#/usr/local/bin/#/usr/bin/#' "deploy/systemd/floorwatch-$name.service" >"$out/floorwatch-$name.service"
done

# changed FILE FROM TO: one line of a sample, which must be there
changed() {
	grep -qxF -- "$2" "$1" || { echo "deploy/deb/stage.sh: $1 has no line \"$2\" any more" >&2; exit 1; }
	F=$2 T=$3 awk '$0 == ENVIRON["F"] && !done { $0 = ENVIRON["T"]; done = 1 } { print }' "$1" >"$1.new"
	mv "$1.new" "$1"
}
cp deploy/edge.yaml "$out/edge.yaml"
changed "$out/edge.yaml" 'data: data' 'data: /var/lib/floorwatch-edge/data'
changed "$out/edge.yaml" 'models: models' 'models: /var/lib/floorwatch-edge/models'
cp deploy/cloud.yaml "$out/cloud.yaml"
changed "$out/cloud.yaml" 'data: data' 'data: /var/lib/floorwatch-cloud/data'
# The package brings its database.
changed "$out/cloud.yaml" '  child: false' '  child: true'
changed "$out/cloud.yaml" '  url: http://127.0.0.1:8086' '  url: ""'
changed "$out/cloud.yaml" '  token_file: /etc/floorwatch/influx-token' '  token_file: ""'

cp .tools/bin/influxd "$out/influxd"
module=github.com/influxdata/influxdb@$(cat .tools/influxd.version)
from=$(go mod download -json "$module" | sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p')
{
	printf 'influxd is InfluxDB %s, compiled without changes from the Go module\n%s. Its licence, and those of what it is made of, as its makers list them:\n\n' "${module#*@}" "$module"
	cat "$from/LICENSE"
	echo
	cat "$from"/DEPENDENCIES.md "$from"/LICENSE_OF_DEPENDENCIES.md 2>/dev/null || true
} >"$out/influxd.licence"
