package relay

import (
	"net"
	"strings"
	"sync"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
)

// readPath is the path under which readers find the stream.
const readPath = "stream"

// server is an RTSP server over TCP with one publisher and any number of
// readers. Only who knows the publish path can publish.
type server struct {
	publish string
	rtsp    *gortsplib.Server
	ln      net.Listener
	ready   chan struct{} // closed when the first stream can be read
	once    sync.Once

	mu        sync.Mutex
	stream    *gortsplib.ServerStream
	publisher *gortsplib.ServerSession
	lost      func() // told when the publisher is no longer heard
}

func newServer(publish string) (*server, error) {
	s := &server{publish: publish, ready: make(chan struct{})}
	s.rtsp = &gortsplib.Server{
		Handler:     s,
		RTSPAddress: "127.0.0.1:0",
		Listen: func(network, address string) (net.Listener, error) {
			ln, err := listenLoopback(network, address)
			s.ln = ln
			return ln, err
		},
	}
	if err := s.rtsp.Start(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *server) addr() string { return s.ln.Addr().String() }

func (s *server) close() {
	s.rtsp.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

// drop disconnects the publisher and every reader. The caller holds mu.
func (s *server) drop() {
	if s.stream != nil {
		s.stream.Close()
		s.stream, s.publisher = nil, nil
	}
}

func (s *server) onLost(lost func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lost = lost
}

func status(code base.StatusCode) *base.Response { return &base.Response{StatusCode: code} }

// OnSessionClose implements gortsplib.ServerHandlerOnSessionClose.
func (s *server) OnSessionClose(ctx *gortsplib.ServerHandlerOnSessionCloseCtx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Session == s.publisher {
		s.drop()
		if s.lost != nil {
			s.lost()
		}
	}
}

// OnAnnounce implements gortsplib.ServerHandlerOnAnnounce.
func (s *server) OnAnnounce(ctx *gortsplib.ServerHandlerOnAnnounceCtx) (*base.Response, error) {
	if strings.Trim(ctx.Path, "/") != s.publish {
		return status(base.StatusNotFound), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
	stream := &gortsplib.ServerStream{Server: s.rtsp, Desc: ctx.Description}
	if err := stream.Initialize(); err != nil {
		return status(base.StatusInternalServerError), err
	}
	s.stream, s.publisher = stream, ctx.Session
	return status(base.StatusOK), nil
}

// OnDescribe implements gortsplib.ServerHandlerOnDescribe.
func (s *server) OnDescribe(ctx *gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return s.read(ctx.Path)
}

// OnSetup implements gortsplib.ServerHandlerOnSetup.
func (s *server) OnSetup(ctx *gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if ctx.Session.State() == gortsplib.ServerSessionStatePreRecord {
		return status(base.StatusOK), nil, nil
	}
	return s.read(ctx.Path)
}

func (s *server) read(path string) (*base.Response, *gortsplib.ServerStream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == nil || strings.Trim(path, "/") != readPath {
		return status(base.StatusNotFound), nil, nil
	}
	return status(base.StatusOK), s.stream, nil
}

// OnPlay implements gortsplib.ServerHandlerOnPlay.
func (s *server) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return status(base.StatusOK), nil
}

// OnRecord implements gortsplib.ServerHandlerOnRecord.
func (s *server) OnRecord(ctx *gortsplib.ServerHandlerOnRecordCtx) (*base.Response, error) {
	s.mu.Lock()
	stream := s.stream
	s.mu.Unlock()
	if stream == nil {
		return status(base.StatusNotFound), nil
	}
	s.once.Do(func() { close(s.ready) })
	ctx.Session.OnPacketRTPAny(func(m *description.Media, _ format.Format, p *rtp.Packet) {
		_ = stream.WritePacketRTP(m, p) // fails only for a reader that is leaving
	})
	return status(base.StatusOK), nil
}
