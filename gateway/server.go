package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/gateway/node"
	"github.com/sandgate/sandgate/ledger/accesslog"
)

// maxMessage caps a request: a policy bundle is the largest thing a party sends
// in one message.
const maxMessage = 16 << 20

// NewServer returns the gRPC server of a domain: mutual TLS, one service per
// authority, health and reflection. Every caller is a party named by its
// verified certificate; what it may do is decided by the registry.
func NewServer(d *Domain, tlsConfig *tls.Config) *grpc.Server {
	s := grpc.NewServer(
		grpc.Creds(credentials.NewTLS(tlsConfig)),
		grpc.MaxRecvMsgSize(maxMessage),
		// What waits to be taken by a slow caller is bounded too.
		grpc.MaxConcurrentStreams(256),
		// A connection that does not finish its handshake is dropped.
		grpc.ConnectionTimeout(10*time.Second),
		grpc.WaitForHandlers(true), // nothing may reach a ledger that is being closed
		grpc.ChainUnaryInterceptor(d.unary),
		grpc.ChainStreamInterceptor(d.stream),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error {
			return invalid("METHOD_UNKNOWN", "没有这个方法", "there is no such method")
		}),
	)
	sandgatev1.RegisterOperatorServiceServer(s, &operatorService{d: d})
	sandgatev1.RegisterPolicyServiceServer(s, &policyService{d: d})
	sandgatev1.RegisterDepartmentServiceServer(s, &departmentService{d: d})
	sandgatev1.RegisterCatalogueServiceServer(s, &catalogueService{d: d})
	sandgatev1.RegisterRegulatorServiceServer(s, &regulatorService{d: d})
	sandgatev1.RegisterProductServiceServer(s, &productService{d: d})
	sandgatev1.RegisterStatementServiceServer(s, &statementService{d: d})
	sandgatev1.RegisterLicenceServiceServer(s, &licenceService{d: d})
	sandgatev1.RegisterDeskServiceServer(s, &deskService{d: d})
	sandgatev1.RegisterRiskServiceServer(s, &riskService{d: d})
	sandgatev1.RegisterKeyServiceServer(s, &keyService{d: d})
	sandgatev1.RegisterWitnessServiceServer(s, &witnessService{d: d})
	// auto:
	sandgatev1.RegisterSupervisionServiceServer(s, &supervisionService{d: d})

	sandgatev1.RegisterVerificationServiceServer(s, &verificationService{d: d})
	// model:
	sandgatev1.RegisterModelServiceServer(s, &modelService{d: d})
	// twin:
	sandgatev1.RegisterTwinServiceServer(s, &twinService{d: d})
	sandgatev1.RegisterRelationsServiceServer(s, &relationsService{d: d})
	// hub:
	sandgatev1.RegisterRoundServiceServer(s, &roundService{d: d})
	sandgatev1.RegisterTrainingServiceServer(s, &trainingService{d: d})
	sandgatev1.RegisterNodeServiceServer(s, node.NewService(d.aggregator.hub, d.attends))
	longrunningpb.RegisterOperationsServer(s, &operations{d: d})
	healthpb.RegisterHealthServer(s, d.health)
	reflection.Register(s)
	return s
}

// Serve opens a home and serves it on a listener until ctx ends.
func Serve(ctx context.Context, d *Domain, lis net.Listener) error {
	if err := d.renewTLS(); err != nil {
		return err
	}
	conf := d.tls.Load().Clone()
	// A connection takes the certificate that is in force when it begins.
	conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return d.tls.Load(), nil }
	s := NewServer(d, conf)
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(lis) }()
	select {
	case err := <-failed:
		return fmt.Errorf("failed to serve: %w", err)
	case <-ctx.Done():
		d.aggregator.hub.Close() // nodes attend for as long as they are let
		// Calls under way may end, but a file that is never sent to its end must
		// not keep the gateway from stopping.
		cut := time.AfterFunc(drain, s.Stop)
		defer cut.Stop()
		s.GracefulStop()
		return nil
	}
}

// drain is how long calls may go on after a gateway was told to stop. A client
// that is cut off retries with the same request id; a running job is waited for.
const drain = 5 * time.Second

type partyKey struct{}

// caller is the party a request's certificate names.
func caller(ctx context.Context) string {
	p, _ := ctx.Value(partyKey{}).(string)
	return p
}

// unauthenticated is a caller without a verified certificate that names a party.
var unauthenticated = invalid("UNAUTHENTICATED", "客户端证书未指明参与方", "no verified client certificate that names a party")

func (d *Domain) identify(ctx context.Context) (context.Context, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, unauthenticated
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 || len(info.State.VerifiedChains[0]) == 0 {
		return nil, unauthenticated
	}
	party, err := home.PartyOf(info.State.VerifiedChains[0][0])
	if err != nil || !d.trusts(party, info.State.VerifiedChains[0]) {
		return nil, unauthenticated
	}
	return withEnvelope(context.WithValue(ctx, partyKey{}, party)), nil
}

func (d *Domain) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func(outer context.Context) { d.accessed(outer, ctx, info.FullMethod, err) }(ctx)
	ctx, err = d.identify(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	defer d.finish(info.FullMethod, caller(ctx), &err)
	return next(ctx, req)
}

type identified struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *identified) Context() context.Context { return s.ctx }

func (d *Domain) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	ctx, err := d.identify(ss.Context())
	defer func() { d.accessed(ss.Context(), ctx, info.FullMethod, err) }()
	if err != nil {
		return statusOf(err)
	}
	defer d.finish(info.FullMethod, caller(ctx), &err)
	return next(srv, &identified{ss, ctx})
}

// accessed writes a call into the access log. outer is the context as it arrived,
// inner the one that names the caller, nil or nameless when it was not authenticated.
// A log that cannot be written is an error of the host: calls go on, since the ledger
// holds every use, and the operator of the host is told.
func (d *Domain) accessed(outer, inner context.Context, method string, err error) {
	line := accesslog.Line{At: d.opt.Now(), Method: method, Code: status.Code(err).String()}
	if inner != nil {
		line.Party = caller(inner)
	}
	// A method that does not exist is the caller's own words, and whether a stranger's
	// exists was not looked at: they stay out.
	if line.Party == "" || status.Code(err) == codes.Unimplemented {
		line.Method = "unknown"
	}
	if p, ok := peer.FromContext(outer); ok {
		line.Peer = p.Addr.String()
		if host, _, err := net.SplitHostPort(line.Peer); err == nil {
			line.Peer = host
		}
	}
	if err := d.access.Add(line); err != nil {
		d.opt.Logger.Error("access log failed")
	}
}

// finish turns any outcome into a status whose text is ours. A panic is a
// programming error; its value and stack may hold data, so neither is logged or
// answered beyond the function names.
func (d *Domain) finish(method, party string, err *error) {
	if p := recover(); p != nil {
		d.opt.Logger.Error("panic", "method", method, "party", party, "stack", functionsOf(debug.Stack()))
		*err = statusOf(errors.New("panic"))
		return
	}
	if *err == nil {
		return
	}
	if st, ok := status.FromError(*err); ok {
		if len(st.Details()) == 0 {
			*err = transport(st)
		}
		return
	}
	st := statusOf(*err)
	level := slog.LevelInfo
	if status.Code(st) == codes.Internal {
		level = slog.LevelError
	}
	attrs := []any{"method", method, "party", party, "code", status.Code(st).String()}
	var r *Refusal
	if !errors.As(*err, &r) && level == slog.LevelError {
		// The chain of our own wrappers; engine and parser text never enters it.
		attrs = append(attrs, "error", (*err).Error())
	}
	d.opt.Logger.Log(context.Background(), level, "call failed", attrs...)
	*err = st
}

// functionsOf keeps the function lines of a stack: no argument values.
func functionsOf(stack []byte) string {
	var out []byte
	depth, keep := 0, true
	for _, c := range stack {
		switch {
		case c == '\n':
			keep, depth = true, 0
			if len(out) > 0 && out[len(out)-1] != ' ' {
				out = append(out, ' ')
			}
		case c == '\t' && depth == 0, c == '(':
			keep = false
		}
		depth++
		if keep && c != '\n' {
			out = append(out, c)
		}
		if len(out) > 2000 {
			break
		}
	}
	return string(out)
}
