package program

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Home returns the absolute path of a data folder. It refuses root's work in a
// folder of a service's user: what root makes there the service cannot read, and
// what root can read the service perhaps cannot.
func Home(data string) (string, error) {
	path, err := filepath.Abs(data)
	if err != nil {
		return "", fmt.Errorf("find the folder data: %w", err)
	}
	if os.Geteuid() != 0 {
		return path, nil
	}
	if name := owner(path); name != "" {
		return "", fmt.Errorf("%w: %s belongs to %s, and what root makes there it could not use; run: runuser -u %s -- %s", ErrUsage, path, name, name, commandLine())
	}
	return path, nil
}

// commandLine is this program's, as it is typed.
func commandLine() string {
	words := slices.Clone(os.Args)
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t'\"$&|;<>*?()\\") {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// owner names who has the folder at path, or where that is not made yet the next
// one above it; "" for root.
func owner(path string) string {
	for {
		info, err := os.Stat(path)
		if err == nil {
			st, ok := info.Sys().(*syscall.Stat_t)
			if !ok || st.Uid == 0 {
				return ""
			}
			id := strconv.FormatUint(uint64(st.Uid), 10)
			if u, err := user.LookupId(id); err == nil {
				return u.Username
			}
			return "#" + id
		}
		above := filepath.Dir(path)
		if above == path {
			return ""
		}
		path = above
	}
}
