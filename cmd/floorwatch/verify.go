package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"

	"floorwatch"
	"floorwatch/cloud/vault"
	"floorwatch/internal/layout"
	"floorwatch/internal/program"
	"floorwatch/internal/verify"
)

const verifyHelp = `Usage: floorwatch verify [flags] FOLDER | FILE.mp4

FOLDER is a box's footage, or a vault (docs/vault.md): one with vault.sqlite in it.
Checks footage against its seals (docs/seal.md): each seal's signature and place
in the camera's chain, each file to the fragment, and that footage, deletions and
gaps account for all of the time. FILE.mp4 needs its .seal beside it; its place in
the chain is then not checked. Nothing is changed and nothing leaves the machine.

Exit code: 0 sound, 1 not sound, 2 cannot be checked as asked.

`

// runVerify is `floorwatch verify`.
func runVerify(ctx context.Context, args []string, std stdio) error {
	flags := flag.NewFlagSet("verify", flag.ContinueOnError)
	key := flags.String("key", "", "the box's public key, in hex or as a `FILE` with it; without it, a signature by any key is accepted")
	head := flags.String("head", "", "hash of a `SEAL` that was kept elsewhere, such as the cloud's last; the chain must hold it")
	asJSON := flags.Bool("json", false, "print the verdict as JSON")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), verifyHelp)
		flags.PrintDefaults()
	}
	if err := parseFlags(flags, args, std, 1); err != nil {
		return err
	}
	v := verify.Verifier{Head: *head}
	var err error
	if v.Key, err = readPublicKey(*key); err != nil {
		return fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if *head != "" && !floorwatch.ValidHash(*head) {
		return fmt.Errorf("%w: -head takes the SHA-256 of a seal, 64 lower-case hex digits", program.ErrUsage)
	}
	report, err := verifyPath(ctx, v, flags.Arg(0))
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(std.Out).Encode(report)
	} else {
		err = printReport(std.Out, report)
	}
	if err == nil && !report.Sound {
		err = program.ErrTold
	}
	return err
}

// readPublicKey reads 64 hex digits, given as such or in a file; "" is no key.
func readPublicKey(arg string) (ed25519.PublicKey, error) {
	if arg == "" {
		return nil, nil
	}
	if !floorwatch.ValidHash(arg) {
		f, err := os.Open(arg)
		if err != nil {
			return nil, fmt.Errorf("read public key: %w", err)
		}
		defer func() { _ = f.Close() }()
		b, err := io.ReadAll(io.LimitReader(f, 4096))
		if err != nil {
			return nil, fmt.Errorf("read public key: %w", err)
		}
		arg = string(bytes.TrimSpace(b))
	}
	if !floorwatch.ValidHash(arg) {
		return nil, fmt.Errorf("public key is not 64 lower-case hex digits; floorwatch-edge key prints it")
	}
	return hex.DecodeString(arg)
}

// verifyPath checks what lies at path: a vault, a box's folder, or one file.
func verifyPath(ctx context.Context, v verify.Verifier, path string) (r verify.Report, err error) {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return r, fmt.Errorf("verify: %w", err)
	case !st.IsDir() && filepath.Ext(path) != ".mp4":
		return r, fmt.Errorf("%w: %s is neither a folder nor an .mp4 file", program.ErrUsage, path)
	case !st.IsDir():
		return v.File(ctx, path)
	case !verify.IsVault(path):
		return v.Folder(ctx, path)
	}
	index, err := vault.ReadIndex(filepath.Join(path, layout.VaultIndex))
	if err != nil {
		return r, fmt.Errorf("verify: %w", err)
	}
	defer func() { err = errors.Join(err, index.Close()) }()
	return v.Vault(ctx, path, index)
}

// printReport writes a report for people.
func printReport(out io.Writer, r verify.Report) error {
	tab := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tab, "camera\tsegments\tstored s\tdeleted s\tgap s\tunexplained s\tverdict\t")
	for _, c := range r.Cameras {
		word := "sound"
		if c.Faults > 0 {
			word = fmt.Sprintf("NOT SOUND (%d)", c.Faults)
		}
		fmt.Fprintf(tab, "%s/%s/%s\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t%s\t\n",
			c.Store, c.Edge, c.Camera, c.Segments, c.StoredS, c.DeletedS, c.GapS, c.UnexplainedS, word)
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	for _, c := range r.Cameras {
		fmt.Fprintf(out, "%s: %s to %s, last seal %s\n", c.Camera, c.From, c.To, c.LastSeal)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	for _, f := range r.Faults {
		fmt.Fprintln(out, "FAULT:", f)
	}
	word := "SOUND"
	if !r.Sound {
		word = fmt.Sprintf("NOT SOUND: %d fault(s)", len(r.Faults))
	}
	_, err := fmt.Fprintln(out, word)
	return err
}
