package node

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/federate"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// authority issues certificates that name a party.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	pool *x509.CertPool
	name string
}

func newAuthority(t testing.TB, name string) *authority {
	a := &authority{t: t, name: name, pool: x509.NewCertPool()}
	a.cert = a.issue(name, nil)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(party string, parent *x509.Certificate) *x509.Certificate {
	return a.issueUntil(party, parent, time.Now().Add(time.Hour))
}

func (a *authority) issueUntil(party string, parent *x509.Certificate, until time.Time) *x509.Certificate {
	a.t.Helper()
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: party}, DNSNames: []string{party}, NotBefore: time.Now().Add(-time.Hour), NotAfter: until,
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	if parent == nil {
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, keyOf(party).Public(), keyOf(a.name))
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

func (a *authority) pair(party string) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{a.issue(party, a.cert).Raw}, PrivateKey: keyOf(party)}
}

// serve puts a hub behind NodeService and mutual TLS on the loopback.
func serve(t testing.TB, a *authority, hub func() *Hub) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{a.pair("gateway")},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool})))
	sandgatev1.RegisterNodeServiceServer(s, NewService(hub(), func(ctx context.Context) (string, error) {
		p, ok := peer.FromContext(ctx)
		if !ok {
			return "", status.Error(codes.Unauthenticated, "no peer")
		}
		return p.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0].Subject.CommonName, nil
	}))
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return l.Addr().String()
}

func dial(t testing.TB, a *authority, address string, pair tls.Certificate) *grpc.ClientConn {
	c, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS13, ServerName: "gateway", RootCAs: a.pool,
		Certificates: []tls.Certificate{pair}})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// R39: rounds over gRPC with mutual TLS, every party on a connection of its own.
func TestR39_RoundsOverTheNetwork(t *testing.T) {
	s := newSite(t)
	a := newAuthority(t, "ca")
	address := serve(t, a, func() *Hub { return s.hub })
	s.carry = func(party string) Carrier { return Remote(dial(t, a, address, a.pair(party))) }
	s.start()
	for _, scheme := range schemes {
		p := proposal(scheme.Name(), scheme.Name())
		if st := s.round(p); st.Phase != federate.Done {
			t.Fatal(st.Fault)
		}
		s.near(p)
	}
}

// R39: a wrong certificate, a stranger, another's words and broken streams are refused.
func TestR39_NetworkRefusesStrangers(t *testing.T) {
	s := newSite(t)
	a := newAuthority(t, "ca")
	address := serve(t, a, func() *Hub { return s.hub })
	session, err := s.hub.Propose(proposal(federate.Mask, "strangers"), nil)
	if err != nil {
		t.Fatal(err)
	}
	other := newAuthority(t, "other_ca")
	forged := sandgatev1.NewNodeServiceClient(dial(t, a, address, other.pair("city_a")))
	if _, err := forged.Say(t.Context(), &sandgatev1.SayRequest{Session: session}); status.Code(err) != codes.Unavailable {
		t.Errorf("a certificate of another authority: %v", err)
	}
	over := tls.Certificate{Certificate: [][]byte{a.issueUntil("city_a", a.cert, time.Now().Add(-time.Minute)).Raw}, PrivateKey: keyOf("city_a")}
	if _, err := sandgatev1.NewNodeServiceClient(dial(t, a, address, over)).Say(t.Context(), &sandgatev1.SayRequest{Session: session}); status.Code(err) != codes.Unavailable {
		t.Errorf("a certificate that is over: %v", err)
	}
	stranger := sandgatev1.NewNodeServiceClient(dial(t, a, address, a.pair("stranger")))
	if _, err := stranger.Say(t.Context(), &sandgatev1.SayRequest{Session: session}); status.Code(err) != codes.NotFound {
		t.Errorf("a stranger: %v", err)
	}
	b := sandgatev1.NewNodeServiceClient(dial(t, a, address, a.pair("city_b")))
	r, f := federate.Open(federate.Setup{Self: "city_a", Schemes: schemes, Verify: verify, Random: rand.Reader, Journal: emptyJournal(t)}, s.hub.rounds[session].proposal, time.Now().Unix())
	if f != nil {
		t.Fatal(f)
	}
	text, f := r.Accept(hash("schema"), time.Now().Unix())
	if f != nil {
		t.Fatal(f)
	}
	sig, _ := signer("city_a")(federate.SigningBytes(text))
	say := &sandgatev1.SayRequest{Session: session, Message: &sandgatev1.SignedText{Text: text, Sig: sig}}
	if _, err := b.Say(t.Context(), say); status.Code(err) != codes.InvalidArgument {
		t.Errorf("another's words: %v", err)
	}
	city := sandgatev1.NewNodeServiceClient(dial(t, a, address, a.pair("city_a")))
	if _, err := city.Say(t.Context(), say); err != nil {
		t.Errorf("its own words: %v", err)
	}
	say.Message.Sig[0] ^= 1
	if _, err := city.Say(t.Context(), say); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a forged signature: %v", err)
	}
	for name, requests := range map[string][]*sandgatev1.SendPartsRequest{
		"no name":    {{Content: &sandgatev1.SendPartsRequest_Part{Part: []byte{1}}}},
		"nothing":    {},
		"empty":      {{}},
		"not now":    {{Content: &sandgatev1.SendPartsRequest_Stream{Stream: &sandgatev1.PartStream{Session: session, From: "city_a"}}}},
		"no session": {{Content: &sandgatev1.SendPartsRequest_Stream{Stream: &sandgatev1.PartStream{}}}},
	} {
		out, err := city.SendParts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range requests {
			if err := out.Send(m); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
		}
		if _, err := out.CloseAndRecv(); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	in, err := city.FetchParts(t.Context(), &sandgatev1.FetchPartsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Recv(); status.Code(err) != codes.NotFound {
		t.Errorf("parts of nobody: %v", err)
	}
	if _, err := city.Attach(t.Context(), &sandgatev1.AttachRequest{Session: session}); err == nil {
		t.Error("an empty attachment is taken")
	}
	if st, err := s.hub.State(session); err != nil || st.Phase != federate.Proposed {
		t.Errorf("the round is disturbed: %+v", st)
	}
}

func emptyJournal(t *testing.T) *federate.Journal {
	j, err := federate.LoadJournal(nil)
	if err != nil {
		t.Fatal(err)
	}
	return j
}
