package kit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// PostgresServer is Debian's Postgres on a socket in a folder of its own, where
// nobody else meets it.
type PostgresServer struct {
	dir, bin string
	as       []string // runs a program as somebody but root, whom Postgres refuses
	made     int
	*Process
}

// Postgres starts a Postgres until the test ends. In -short the test is skipped.
func Postgres(t testing.TB) *PostgresServer {
	t.Helper()
	quick(t, "Postgres")
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // off PATH, by version
	if len(found) == 0 {
		Missing(t, "postgres is not installed; run: deploy/setup.sh test")
	}
	slices.Sort(found)
	dir, err := Folder("postgres")
	Must(t, err)
	p := &PostgresServer{dir: dir, bin: filepath.Dir(found[len(found)-1])}
	t.Cleanup(func() {
		if p.Process != nil {
			p.End()
		}
		if t.Failed() && p.Process != nil {
			t.Logf("postgres:\n%s", p.Tail())
		}
		_ = os.RemoveAll(dir)
	})
	Must(t, p.giveUpRoot())
	out, err := p.command("initdb", "-D", p.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync").CombinedOutput()
	if err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	Must(t, p.Start(context.Background()))
	return p
}

func (p *PostgresServer) data() string { return filepath.Join(p.dir, "data") }

// giveUpRoot gives the folder to the user of Debian's package.
func (p *PostgresServer) giveUpRoot() error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return fmt.Errorf("find a user for postgres: %w", err)
		}
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	// A change of user takes the word away that it dies with us; setpriv gives it again.
	p.as = []string{"setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--clear-groups", "--pdeathsig=KILL", "--"}
	return errors.Join(err1, err2, os.Chown(p.dir, uid, gid))
}

func (p *PostgresServer) line(name string, args ...string) []string {
	return slices.Concat(p.as, []string{filepath.Join(p.bin, name)}, args)
}

func (p *PostgresServer) command(name string, args ...string) *exec.Cmd {
	line := p.line(name, args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = p.dir
	return cmd
}

// Start starts it again on the same data and waits until it answers.
func (p *PostgresServer) Start(ctx context.Context) error {
	// It need survive kill -9, which the kernel's cache does, but no power cut.
	line := p.line("postgres", "-D", p.data(), "-k", p.dir, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50")
	var err error
	if p.Process, err = (Program{Name: line[0], Args: line[1:]}).Start(ctx); err != nil {
		return err
	}
	err = Until(ctx, "postgres", Patience, func() (bool, error) {
		select {
		case <-p.Ended():
			return false, errors.New("postgres ended at once")
		default:
			return p.command("pg_isready", "-q", "-h", p.dir).Run() == nil, nil
		}
	})
	if err != nil {
		p.End()
		return fmt.Errorf("%w; %s", err, p.Tail())
	}
	return nil
}

// Stop ends it at once, as when its machine goes; Start may follow.
func (p *PostgresServer) Stop() error {
	if err := p.Signal(syscall.SIGQUIT); err != nil {
		return fmt.Errorf("stop postgres: %w", err)
	}
	<-p.Ended()
	p.End()
	return nil
}

// Database makes an empty database and returns its URL.
func (p *PostgresServer) Database(t testing.TB) string {
	t.Helper()
	p.made++
	name := fmt.Sprintf("test%d", p.made)
	if out, err := p.command("createdb", "-h", p.dir, "-U", "postgres", name).CombinedOutput(); err != nil {
		t.Fatalf("createdb: %v\n%s", err, out)
	}
	return "postgres://postgres@/" + name + "?host=" + p.dir
}
