package kit

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Network is a network of the kernel's own, a namespace. It has no name and no
// mount: a process holds it, so that it is gone with the last program inside,
// however we end.
type Network struct{ holder *Process }

// NewNetwork makes one with nothing in it but loopback. It needs root.
func NewNetwork(ctx context.Context) (*Network, error) {
	p, err := Start(ctx, "unshare", "--net", "sh", "-c", "ip link set lo up && echo ready && exec sleep infinity")
	if err != nil {
		return nil, err
	}
	if line, _ := p.Line(); line != "ready" {
		p.End()
		return nil, fmt.Errorf("make a network namespace: %s", p.Tail())
	}
	return &Network{p}, nil
}

// End lets go of it.
func (n *Network) End() { n.holder.End() }

func (n *Network) path() string { return fmt.Sprintf("/proc/%d/ns/net", n.holder.PID()) }

// Join connects two networks by a cable; each end has a name and an address with
// the length of its network, as 10.77.1.1/24.
func (n *Network) Join(other *Network, name, address, otherName, otherAddress string) error {
	pid := func(n *Network) string { return fmt.Sprint(n.holder.PID()) }
	// Not `ip -n`: it mounts, and in a chroot it may not.
	within := func(n *Network, args ...string) []string {
		return append([]string{"nsenter", "--net=" + n.path(), "ip"}, args...)
	}
	for _, step := range [][]string{
		{"ip", "link", "add", name, "netns", pid(n), "type", "veth", "peer", "name", otherName, "netns", pid(other)},
		within(n, "addr", "add", address, "dev", name), within(n, "link", "set", name, "up"),
		within(other, "addr", "add", otherAddress, "dev", otherName), within(other, "link", "set", otherName, "up"),
	} {
		if out, err := exec.Command(step[0], step[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("join networks: %q: %w: %s", step, err, out)
		}
	}
	return nil
}

// Client returns an HTTP client whose connections come from within.
func (n *Network) Client() *http.Client {
	dial := func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // for good: the thread ends with the goroutine
			var f *os.File
			if f, err = os.Open(n.path()); err != nil {
				return
			}
			defer func() { _ = f.Close() }()
			if err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err == nil {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
			}
		}()
		<-done
		return conn, err
	}
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}
