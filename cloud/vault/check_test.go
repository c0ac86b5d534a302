package vault

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"floorwatch/internal/layout"
	"floorwatch/internal/verify"
)

// TestTheVaultChecksItself runs the auditor's verifier on the vault's own index
// while it is open: sound, altered, short of a file, with one too many.
func TestTheVaultChecksItself(t *testing.T) {
	u, _ := newVault(t)
	dir := filepath.Dir(u.Dir)
	body := data(10_000)
	seg := sealBytes(t, 1, body)
	if err := u.Index.PutSegment(t.Context(), "s1", "box", seg); err != nil {
		t.Fatal(err)
	}
	v := verify.Verifier{Key: boxKey().Public().(ed25519.PublicKey)}
	check := func(stored float64, fault string) {
		t.Helper()
		r, err := v.Vault(t.Context(), dir, u.Index)
		switch {
		case err != nil || len(r.Cameras) != 1:
			t.Fatalf("%v %+v", err, r)
		case r.Cameras[0].StoredS != stored:
			t.Errorf("%g s are stored, want %g", r.Cameras[0].StoredS, stored)
		case fault == "" && !r.Sound, fault != "" && (len(r.Faults) != 1 || !strings.Contains(r.Faults[0].What, fault)):
			t.Errorf("faults %v, want %q", r.Faults, fault)
		}
	}
	check(0, "") // sealed, on its way

	if err := u.Objects.Keep(t.Context(), seg.SHA256, seg.Bytes, bytes.NewReader(body)); err != nil {
		t.Fatal(err)
	}
	if err := u.Index.putObject(t.Context(), seg.SHA256, object{bytes: seg.Bytes, received: seg.End, state: stateHere}); err != nil {
		t.Fatal(err)
	}
	check(60, "")

	path := filepath.Join(dir, layout.ObjectPath(seg.SHA256))
	body[5000] ^= 1
	if err := os.WriteFile(path, body, 0o600); err != nil {
		t.Fatal(err)
	}
	check(60, "fragment 1 was altered")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check(60, "it is missing")

	if err := u.Index.putObject(t.Context(), seg.SHA256, object{bytes: seg.Bytes, received: seg.End, state: stateGone}); err != nil {
		t.Fatal(err)
	}
	check(0, "")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), strings.Repeat("ab", 32)+".mp4"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	check(0, "no seal in the index names this file")
}
