# floorwatch. Two commands matter:
#   make run     installs what is missing and shows the whole product on real footage
#   make test    installs what is missing and tests everything for real
# make help lists the rest.

SHELL := /bin/sh
export PATH := $(CURDIR)/bin:$(CURDIR)/.tools/bin:$(PATH):/usr/local/go/bin
export GOFLAGS := -buildvcs=false

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X floorwatch.BuildVersion=$(VERSION)
# Packages that link OpenCV: the only ones with cgo.
CGO_PACKAGES := ./edge/camera ./cmd/floorwatch-camera
PURE_PACKAGES = $(shell go list ./... | grep -v -e /edge/camera -e /cmd/floorwatch-camera)
NFPM := github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
# It only grows, so that a newer package is an upgrade.
DEB_VERSION = 0.$(shell git rev-list --count HEAD)

# make run SOURCE=rtsp://…, a video file or a device number; PAGE=address:port
SOURCE ?=
PAGE ?=

.PHONY: run test quick build deb web models check layers unit bench fleet accuracy faults functions clean help

run: export FLOORWATCH_STARTED := $(shell date +%s)
run: export FLOORWATCH_SOURCE := $(SOURCE)
run:
	@deploy/setup.sh run
	@$(MAKE) --no-print-directory build
	@exec bin/floorwatch run -config deploy/floorwatch.yaml $(if $(PAGE),-page $(PAGE))

build: ## compiles the programs into bin/
	@mkdir -p bin
	@test -x bin/floorwatch-camera || echo "==> compiling the programs (gocv is large: one to three minutes the first time)"
	@CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/floorwatch ./cmd/floorwatch-edge ./cmd/floorwatch-cloud
	@go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/floorwatch-camera

deb: ## the Debian packages of a box and of the cloud, into bin/
	@deploy/setup.sh deb
	@$(MAKE) --no-print-directory build
	@deploy/deb/stage.sh bin/deb
	@echo "==> packing with nfpm (compiled the first time, a minute or two)"
	@for p in box cloud; do DEB_VERSION=$(DEB_VERSION) GOTOOLCHAIN=auto go run $(NFPM) package --config deploy/deb/$$p/nfpm.yaml --packager deb --target bin/ || exit 1; done

web: ## fetches the chart library of the pages through npm
	@rm -rf cloud/web/static/vendor && deploy/setup.sh run

models: build ## fetches the detector's weights: make models [MIRROR=folder]
	@bin/floorwatch models -dir models $(if $(MIRROR),-mirror $(MIRROR))

test: ## installs what is missing and tests everything
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory build
	@deploy/test.sh check pure camera

quick: ## what needs no server, browser or root; half a minute when built before
	@mkdir -p .cache
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not formatted: $$(gofmt -l $$(git ls-files '*.go'))"; exit 1; }
	@CGO_ENABLED=0 go vet $(PURE_PACKAGES)
	@CGO_ENABLED=0 go test -short $(PURE_PACKAGES) >.cache/quick.log 2>&1 || { grep -v -e '^ok ' -e 'no test files' .cache/quick.log; exit 1; }
	@grep -c '^ok ' .cache/quick.log | sed 's/$$/ packages passed; what needs servers, a browser, root or time is for make test/'

check: ## formatting, vet, go.mod, staticcheck
	@deploy/setup.sh check
	@deploy/test.sh check

layers: ## what may import what: deploy/rooms.txt
	@go test -count=1 -run 'TestRooms|TestProductWithoutLaboratory' ./internal/lab/house

unit: ## every test, against the real servers; ONLY="./edge/outbox ./cloud/..." for some
	@deploy/test.sh $(if $(ONLY),"only=$(ONLY)",pure camera)

bench: ## broker, ingest and InfluxDB beside a bare reader and bare writes; BENCH=-short for a quick look
	@deploy/setup.sh test
	@go run ./internal/lab/speed $(BENCH)

fleet: ## boxes at rest before the whole aggregator, 1,000 and 3,000 of them; FLEET=100,0/10000
	@deploy/setup.sh test
	@go run ./internal/lab/speed -fleet $(if $(FLEET),$(FLEET),1000,3000) $(BENCH)

accuracy: ## writes docs/accuracy.md: figures against the truth, beside the naive pipeline's; ACCURACY=-short
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory build
	@go run ./internal/lab/accuracy $(ACCURACY)

faults: ## writes docs/reliability.md: power, network, process, disk and clock faults; ONLY="B1 C1"
	@deploy/setup.sh test
	@$(MAKE) --no-print-directory build
	@go run ./internal/lab/faults -only "$(ONLY)"

functions: ## benchmarks of the functions, go test -bench
	@go test -run '^$$' -bench . -benchmem $(PURE_PACKAGES) $(CGO_PACKAGES)

clean: ## removes what was built; keeps tools, film and data
	rm -rf bin

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "  make run        installs what is missing and shows the product; SOURCE=rtsp://… for your camera"
