#!/bin/sh
# The layer rules: who may import whom, and why. Fails with the offending line.
set -eu
cd "$(dirname "$0")/.."
bad=0

# forbid FROM-PATTERN IMPORT-PATTERN why: no package that matches may depend on
# (directly or not) a package that matches.
forbid() {
	go list -deps=false -f '{{$p := .ImportPath}}{{range .Deps}}{{$p}} {{.}}{{"\n"}}{{end}}' ./... |
		awk -v from="$1" -v to="$2" -v why="$3" '$1 ~ from && $2 ~ to { print "layers: " $1 " reaches " $2 ": " why; n++ } END { exit n > 0 }' || bad=1
}

# direct FROM IMPORT why: the same for direct imports only.
direct() {
	go list -f '{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}{{"\n"}}{{end}}' ./... |
		awk -v from="$1" -v to="$2" -v why="$3" '$1 ~ from && $2 ~ to && $1 != $2 { print "layers: " $1 " imports " $2 ": " why; n++ } END { exit n > 0 }' || bad=1
}

forbid '^floorwatch$' '^[^/]*[.]' "the root package is the vocabulary: standard library only"
forbid '^floorwatch$' '^floorwatch/' "the root package imports nothing of ours"
forbid '^floorwatch/cloud' '^floorwatch/edge|^gocv' "the cloud knows nothing of the box but the wire contract"
forbid '^floorwatch/edge' '^floorwatch/cloud' "the box knows nothing of the cloud but the wire contract"
forbid '^floorwatch/(edge$|edge/(track|zone|queue|counter|footage|outbox|uplink|relay)|cmd/floorwatch$)' '^gocv' "OpenCV lives in its own process"
direct '^floorwatch/edge/' '^floorwatch/edge/' "rooms of the box do not know each other; package edge connects them"
direct '^floorwatch/cloud/' '^floorwatch/cloud/(api|broker|influx|ingest|report|vault|web)' "rooms of the cloud do not know each other (but waits, which is arithmetic); package cloud connects them"
exit $bad
