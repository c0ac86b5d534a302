package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"

	"floorwatch"
	"floorwatch/internal/program"
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
	key := flags.String("key", "", "the box's public key, in hex or as a `FILE` with it; without it anyone's key is taken")
	head := flags.String("head", "", "hash of a `SEAL` that was kept elsewhere, such as the cloud's last; the chain must hold it")
	asJSON := flags.Bool("json", false, "print the verdict as JSON")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), verifyHelp)
		flags.PrintDefaults()
	}
	if err := parseFlags(flags, args, std, 1); err != nil {
		return err
	}
	v := verifier{}
	var err error
	if v.pinned, err = readPublicKey(*key); err != nil {
		return fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	if *head != "" && !hexHash.MatchString(*head) {
		return fmt.Errorf("%w: -head takes the SHA-256 of a seal, 64 lower-case hex digits", program.ErrUsage)
	}
	v.head = *head
	out, err := v.run(ctx, flags.Arg(0))
	if err != nil {
		return err
	}
	if *asJSON {
		err = json.NewEncoder(std.Out).Encode(out)
	} else {
		err = out.print(std.Out)
	}
	if err == nil && !out.Sound {
		err = program.ErrTold
	}
	return err
}

var hexHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// readPublicKey reads 64 hex digits, given as such or in a file; "" is no key.
func readPublicKey(arg string) (ed25519.PublicKey, error) {
	if arg == "" {
		return nil, nil
	}
	if !hexHash.MatchString(arg) {
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
	if !hexHash.MatchString(arg) {
		return nil, fmt.Errorf("public key is not 64 lower-case hex digits; floorwatch-edge key prints it")
	}
	return hex.DecodeString(arg)
}

// verdict is what verify found.
type verdict struct {
	Sound   bool            `json:"sound"`
	Pinned  bool            `json:"key_pinned"`
	Key     []string        `json:"keys"` // that signed the seals
	Cameras []cameraVerdict `json:"cameras"`
	Faults  []fault         `json:"faults"`
	Notes   []string        `json:"notes"`
}

// cameraVerdict sums up one camera, in seconds.
type cameraVerdict struct {
	Store        string          `json:"store"`
	Edge         string          `json:"edge"`
	Camera       string          `json:"camera"`
	From         floorwatch.Time `json:"from"`
	To           floorwatch.Time `json:"to"`
	Segments     int             `json:"segments"`
	StoredS      float64         `json:"stored_s"`
	DeletedS     float64         `json:"deleted_s"`
	GapS         float64         `json:"gap_s"`
	UnexplainedS float64         `json:"unexplained_s"`
	Faults       int             `json:"faults"`
	LastSeal     string          `json:"last_seal"` // hash; compare it with the cloud's
}

// fault is one thing that is not as it was sealed, with the span of capture time
// that it puts in doubt where that is known.
type fault struct {
	Camera string          `json:"camera,omitempty"`
	Path   string          `json:"path,omitempty"`
	What   string          `json:"what"`
	From   floorwatch.Time `json:"from,omitempty"`
	To     floorwatch.Time `json:"to,omitempty"`
}

func (f fault) String() string {
	var b strings.Builder
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.What)
	if f.To != 0 {
		fmt.Fprintf(&b, " (%s to %s)", f.From, f.To)
	}
	return b.String()
}

// print writes the verdict for people.
func (v verdict) print(out io.Writer) error {
	tab := tabwriter.NewWriter(out, 0, 4, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tab, "camera\tsegments\tstored s\tdeleted s\tgap s\tunexplained s\tverdict\t")
	for _, c := range v.Cameras {
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
	for _, c := range v.Cameras {
		fmt.Fprintf(out, "%s: %s to %s, last seal %s\n", c.Camera, c.From, c.To, c.LastSeal)
	}
	for _, n := range v.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	for _, f := range v.Faults {
		fmt.Fprintln(out, "FAULT:", f)
	}
	word := "SOUND"
	if !v.Sound {
		word = fmt.Sprintf("NOT SOUND: %d fault(s)", len(v.Faults))
	}
	_, err := fmt.Fprintln(out, word)
	return err
}

// verifier holds what the checks are made against.
type verifier struct {
	pinned ed25519.PublicKey
	head   string
	single bool // one file, outside of its chain
}

// run checks a folder, or one file with its seal. A box at work may change the
// folder meanwhile: faults are then looked at again.
func (v *verifier) run(ctx context.Context, path string) (verdict, error) {
	st, err := os.Stat(path)
	if err != nil {
		return verdict{}, fmt.Errorf("verify: %w", err)
	}
	only := ""
	if !st.IsDir() {
		if v.single = true; filepath.Ext(path) != ".mp4" {
			return verdict{}, fmt.Errorf("%w: %s is neither a folder nor an .mp4 file", program.ErrUsage, path)
		}
		only, path = filepath.Base(path), filepath.Dir(path)
	}
	if only == "" && isVault(path) {
		out, err := v.vault(ctx, path)
		if err == nil && !out.Sound { // a vault at work may have changed meanwhile
			out, err = v.vault(ctx, path)
		}
		return out, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return verdict{}, fmt.Errorf("verify: %w", err)
	}
	defer func() { _ = root.Close() }()
	for attempt := 0; ; attempt++ {
		f, err := collect(ctx, root, only)
		if err != nil {
			return verdict{}, fmt.Errorf("verify %s: %w", path, err)
		}
		out, err := v.check(ctx, f)
		if err != nil || out.Sound || attempt == 2 {
			return out, err
		}
		if again, err := collect(ctx, root, only); err != nil || again.same(f) {
			return out, err
		}
	}
}
