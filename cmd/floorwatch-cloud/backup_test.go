package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/internal/lab/kit"
	"floorwatch/internal/lab/kit/influxdb"
	"floorwatch/internal/program"
)

func TestBackupCommandLine(t *testing.T) {
	for _, name := range []string{"backup", "restore"} {
		if _, text, err := call(t, name, "-h"); !errors.Is(err, flag.ErrHelp) || !strings.Contains(text, "restore puts it back") || !strings.Contains(text, "-objects") {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
	for _, args := range [][]string{
		{"backup"}, {"backup", "a", "b"}, {"restore"}, {"backup", "-objects", "some", "a"}, {"restore", "-influx-rpc", "x", "a"},
	} {
		if _, _, err := call(t, args...); !errors.Is(err, program.ErrUsage) {
			t.Errorf("%q: %v, want exit code 2", args, err)
		}
	}
}

// TestBackupBesideOwnServers copies the files, Postgres where its tool is there,
// and tells how an InfluxDB of one's own is copied. The restore goes on with that.
func TestBackupBesideOwnServers(t *testing.T) {
	kit.Tool(t, "influxd")
	dir := t.TempDir()
	db, err := influxdb.Start(context.Background(), dir)
	kit.Must(t, err)
	defer db.End()
	at, err := db.Endpoint()
	kit.Must(t, err)
	server := kit.Postgres(t)
	_, rpc, err := db.Running()
	kit.Must(t, err)
	data := filepath.Join(dir, "data")
	kit.Write(t, filepath.Join(dir, "token"), at.Token)
	kit.Write(t, filepath.Join(dir, "password"), "any")
	config := kit.Write(t, filepath.Join(dir, "cloud.yaml"), "data: "+data+"\n"+
		"broker: {url: \"tcp://127.0.0.1:1\", password_file: "+dir+"/password}\ninflux: {url: \""+at.URL+"\", token_file: "+dir+"/token}\n")
	b, err := os.ReadFile(config)
	kit.Must(t, err)
	postgres := kit.Write(t, filepath.Join(dir, "postgres.yaml"), string(b)+"metadata: \""+server.Database(t)+"\"\n")
	for _, c := range []string{config, postgres} {
		if _, _, err := call(t, "site", "add", "-config", c, "-box", "box1", "-key", boxKey, "h1"); err != nil {
			t.Fatal(err)
		}
	}
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	out, _, err := call(t, "backup", "-config", postgres, one)
	if err != nil || !strings.Contains(out, "still to copy: influxd backup -portable -host HOST:8088 -db floorwatch -start 1970") || strings.Contains(out, "footage, which never changes") {
		t.Errorf("%v\n%s", err, out)
	}
	if b, err := os.ReadFile(filepath.Join(one, "metadata.dump")); err != nil || !strings.HasPrefix(string(b), "PGDMP") {
		t.Errorf("the dump of Postgres: %.20q, %v", b, err)
	}
	kit.UseTools(t, "influxd")
	out, _, err = call(t, "backup", "-config", config, "-influx-rpc", rpc, two)
	if err != nil || strings.Contains(out, "still to copy") {
		t.Errorf("%v\n%s", err, out)
	}
	if found, _ := filepath.Glob(filepath.Join(two, "influxdb", "*.manifest")); len(found) != 1 {
		t.Errorf("influxd left %q", found)
	}
	if _, _, err := call(t, "restore", "-config", postgres, one); err == nil || !strings.Contains(err.Error(), data+" is not empty; stop the cloud") {
		t.Errorf("%v", err)
	}
	kit.Must(t, os.RemoveAll(data))
	out, _, err = call(t, "restore", "-config", postgres, one)
	if err != nil || !strings.Contains(out, "pg_restore") || !strings.Contains(out, "1 box(es), 1 of them from ever") {
		t.Errorf("%v\n%s", err, out)
	}
	kit.Must(t, os.RemoveAll(data))
	if out, _, err = call(t, "restore", "-config", config, two); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _, err := call(t, "site", "list", "-config", config); err != nil || !strings.Contains(out, "h1") {
		t.Errorf("%v\n%s", err, out)
	}
	rows, err := influxdb.Query(t.Context(), at, `SELECT "cause", edge FROM gap`)
	if err != nil || len(rows) != 2 || rows[0]["cause"] != "restored" || rows[0]["edge"] != "box1" {
		t.Errorf("two restores booked %v, %v", rows, err)
	}
}
