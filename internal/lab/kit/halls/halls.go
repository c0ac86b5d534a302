// Package halls registers halls and boxes with a cloud that a test or a bench
// starts.
package halls

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"

	"floorwatch"
	"floorwatch/cloud"
	"floorwatch/cloud/metadata"
	"floorwatch/cloud/site"
)

// Register writes halls and boxes into the metadata below a cloud's data folder,
// from ever.
func Register(ctx context.Context, data string, r site.Registry) (err error) {
	db, err := metadata.Open(ctx, filepath.Join(data, cloud.MetadataFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return site.Set(ctx, db, r, floorwatch.Time(1))
}

// One is a registry of one store with boxes of these keys by name; "" takes any.
func One(store string, keys map[string]site.Key) site.Registry {
	r := site.Registry{Stores: []site.Store{{ID: store, TimeZone: "UTC"}}}
	for name, key := range keys {
		r.Edges = append(r.Edges, site.Edge{Store: store, ID: name, Key: key})
	}
	return r
}

var keyRE = regexp.MustCompile(`-key (\S+)`)

// Key finds the key in what floorwatch-edge key printed.
func Key(printed []byte) site.Key {
	m := keyRE.FindSubmatch(printed)
	if m == nil {
		return ""
	}
	return site.Key(m[1])
}
