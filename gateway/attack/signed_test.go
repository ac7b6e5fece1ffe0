package attack

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/audit"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies/request"
)

// signerOf signs as a party of the arena, with whatever key.
func (a *Arena) signerOf(party string, key ed25519.PrivateKey) *client.Signer {
	return &client.Signer{Party: party, Origin: a.Home.Config.Origin, Key: key, Now: a.Clock}
}

// signedBy is a request with a signer's signature.
func signedBy(t testing.TB, s *client.Signer, req *sandgatev1.SubmitJobRequest) *sandgatev1.SubmitJobRequest {
	t.Helper()
	out := proto.CloneOf(req)
	var err error
	if out.SignedRequest, out.Salt, err = s.Sign(client.JobStatement(req, ""), client.JobBody(req.GetQuery())); err != nil {
		t.Fatal(err)
	}
	return out
}

// What an operator did not sign as it stands is refused by name, and leaves
// neither an entry nor a debit.
func TestAttack_AlteredRequestsAreRefused(t *testing.T) {
	a := Shared(t)
	a.Add(t, noted("altered", 200, "x"))
	sql := fmt.Sprintf(countNoted, "altered")
	me, other := Op(0), Op(1)
	mine := a.signerOf(me, a.sign[me])
	late, early, elsewhere := *mine, *mine, *mine
	late.Now = func() time.Time { return a.Clock().Add(-request.Validity - request.Tolerance - time.Minute) }
	early.Now = func() time.Time { return a.Clock().Add(request.Tolerance + time.Minute) }
	elsewhere.Origin = "sandgate.test/elsewhere"
	// The client of the arena would sign what is not signed.
	raw := sandgatev1.NewOperatorServiceClient(a.raw(t, me))
	entries, passed, trials := len(a.Entries(t)), 0, 0
	for name, c := range map[string]struct {
		signer *client.Signer
		alter  func(r *sandgatev1.SubmitJobRequest)
		want   string
	}{
		"unsigned":  {nil, nil, "SIGNATURE_MISSING"},
		"purpose":   {mine, func(r *sandgatev1.SubmitJobRequest) { r.Query.Purpose = "other" }, "SIGNED_REQUEST_MISMATCH"},
		"licence":   {mine, func(r *sandgatev1.SubmitJobRequest) { r.Query.Licence = LicenceID(me, "elsewhere") }, "SIGNED_REQUEST_MISMATCH"},
		"text":      {mine, func(r *sandgatev1.SubmitJobRequest) { r.Query.Sql = strings.Replace(sql, "60", "61", 1) }, "SIGNED_REQUEST_MISMATCH"},
		"parameter": {mine, func(r *sandgatev1.SubmitJobRequest) { r.Query.Parameters = []string{"1"} }, "SIGNED_REQUEST_MISMATCH"},
		"price":     {mine, func(r *sandgatev1.SubmitJobRequest) { r.Query.PriceNanoRho = 2000 }, "SIGNED_REQUEST_MISMATCH"},
		"target error": {mine, func(r *sandgatev1.SubmitJobRequest) {
			r.Query.TargetErrors = []*sandgatev1.TargetError{{HalfWidth: "50"}}
		}, "SIGNED_REQUEST_MISMATCH"},
		"request id":         {mine, func(r *sandgatev1.SubmitJobRequest) { r.RequestId = uuid.NewString() }, "SIGNED_REQUEST_MISMATCH"},
		"salt":               {mine, func(r *sandgatev1.SubmitJobRequest) { r.Salt = make([]byte, request.SaltBytes) }, "SIGNED_REQUEST_MISMATCH"},
		"short salt":         {mine, func(r *sandgatev1.SubmitJobRequest) { r.Salt = r.Salt[1:] }, "SIGNED_REQUEST_MALFORMED"},
		"another's key":      {a.signerOf(me, a.sign[other]), nil, "SIGNATURE_INVALID"},
		"another's request":  {a.signerOf(other, a.sign[other]), nil, "SIGNED_REQUEST_MISMATCH"},
		"the gateway's key":  {a.signerOf(me, ed25519.NewKeyFromSeed(a.Keys.Receipt)), nil, "SIGNATURE_INVALID"},
		"expired":            {&late, nil, "SIGNED_REQUEST_EXPIRED"},
		"ahead of its time":  {&early, nil, "SIGNED_REQUEST_EARLY"},
		"at another gateway": {&elsewhere, nil, "SIGNED_REQUEST_MISMATCH"},
		"not an envelope":    {mine, func(r *sandgatev1.SubmitJobRequest) { r.SignedRequest = []byte("{}") }, "SIGNED_REQUEST_MALFORMED"},
	} {
		trials++
		req := Request(me, "altered", sql, 1000)
		if c.signer != nil {
			req = signedBy(t, c.signer, req)
		}
		if c.alter != nil {
			c.alter(req)
		}
		_, err := raw.SubmitJob(t.Context(), req)
		if got := Reason(err); got != c.want {
			passed++
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if got := len(a.Entries(t)); got != entries {
		t.Errorf("refused requests left %d entries", got-entries)
	}
	if spent, _ := a.Spent(t, me, "altered", "lifetime"); spent != 0 {
		t.Errorf("refused requests were charged %d", spent)
	}
	// Control: the very request, signed, is released; sent again as it is, it is the
	// same job and costs nothing more.
	req := signedBy(t, mine, Request(me, "altered", sql, 1000))
	for range 2 {
		if _, err := a.Client(me).Run(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if spent, _ := a.Spent(t, me, "altered", "lifetime"); spent != 1000 {
		t.Errorf("one request, sent twice, cost %d", spent)
	}
	Record(t, Score{Attack: "requests altered after signing", Figure: passed, Bound: 0, Control: "as signed: released", Pass: passed == 0, Trials: trials})
}

// raw is a party's connection that signs nothing.
func (a *Arena) raw(t testing.TB, party string) *grpc.ClientConn {
	t.Helper()
	kit, err := home.OpenKit(a.KitDir(party))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := kit.TLS()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(a.Addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// careless is a gateway that checks nothing: what somebody runs who has taken the
// home with all its keys.
type careless struct{}

func (careless) Apply(uint64, []byte) error { return nil }

// The home is stolen: log key, receipt key, commitment key, certificates. A job
// appended in an operator's name fails the audit and the gateway's own start.
func TestAttack_StolenHomeRunsNoJobInAnOperatorsName(t *testing.T) {
	a, err := NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a.Add(t, noted("stolen", 200, "x"))
	a.MustRun(t, Op(0), "stolen", fmt.Sprintf(countNoted, "stolen"), 1000)
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	look := func() *audit.Report {
		r, err := audit.Run(context.Background(), a.Home.Ledger(), audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before := look()
	if !before.OK {
		t.Fatalf("%+v", before.Findings)
	}
	// The thief decides as the rules do: all is right but who asked.
	var old *entry.Request
	for _, id := range before.State.Jobs() {
		j, _ := before.State.Job(id)
		old = &j.Request
	}
	id := uuid.NewString()
	ask := state.Ask{Operator: Op(0), At: time.Now(), Request: entry.Request{Job: state.JobID(Op(0), id), Request: id, Licence: old.Licence, Purpose: old.Purpose, Core: old.Core, Price: 1000}}
	ask.Request.Query, _ = entry.Commit(a.Keys.Commit, []byte("a query of the thief's"))
	d := before.State.Decide(ask)
	if d.Reserved == nil {
		t.Fatalf("the thief's query is refused: %+v", d.Refused)
	}
	e := &entry.Entry{V: entry.Version, Seq: before.State.Size(), At: max(time.Now().UnixMilli(), before.State.At()), Kind: entry.KindReserved, Actor: Op(0), Reserved: d.Reserved}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(key ed25519.PrivateKey) *request.Signed {
		st := request.Statement{V: request.Version, Origin: a.Home.Config.Origin, Party: Op(0), Method: request.MethodQuery, Request: id, Licence: old.Licence, Purpose: old.Purpose,
			Terms: map[string]string{request.TermPrice: "1000"}, IssuedAt: e.At, NotAfter: e.At + 1000, Body: request.Commit(make([]byte, request.SaltBytes), nil)}
		s, err := request.Sign(st, key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	// Control: had the operator signed it, the entry would follow from the rules.
	e.Signed = sign(a.sign[Op(0)])
	if err := before.State.ApplyEntry(e.Seq, e); err != nil {
		t.Fatalf("the control is refused: %v", err)
	}
	e.Signed = sign(key)
	text, err := entry.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	signer, _, err := ledger.NewSignerFromSeed(a.Home.Config.Origin, a.Keys.Log)
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: a.Home.Ledger(), GuardDir: a.Home.Guard(), Origin: a.Home.Config.Origin, Signer: signer, ReceiptKey: ed25519.NewKeyFromSeed(a.Keys.Receipt)}, careless{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Do(t.Context(), func() ([][]byte, error) { return [][]byte{text}, nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitPublished(t.Context(), e.Seq); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	after := look()
	caught := !after.OK && strings.Contains(fmt.Sprint(after.Findings), "SIGNATURE_INVALID")
	if !caught {
		t.Errorf("the audit says %v: %+v", after.OK, after.Findings)
	}
	if err := a.Start(gateway.Options{}); err == nil {
		t.Error("the gateway serves a ledger with a forged job")
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	}
	Record(t, Score{Attack: "stolen gateway keys append a job", Figure: caught, Bound: true, Control: "signed by the operator: accepted", Pass: caught, Trials: 1})
}

// A key that the registry replaced signs nothing more.
func TestAttack_ReplacedKeyAsksNothing(t *testing.T) {
	a, err := NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
	a.Add(t, noted("replaced", 200, "x"))
	sql := fmt.Sprintf(countNoted, "replaced")
	a.MustRun(t, Op(0), "replaced", sql, 1000) // control: the key is good
	old := a.signerOf(Op(0), a.sign[Op(0)])
	_, fresh, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(a.registry, home.PublicKey(old.Key.Public().(ed25519.PublicKey)), home.PublicKey(fresh.Public().(ed25519.PublicKey)), 1)
	a.Must(t, text, Regulator, Op(0))
	ask := func(s *client.Signer, sql string) error {
		_, err := a.Client(Op(0)).Run(t.Context(), signedBy(t, s, Request(Op(0), "replaced", sql, 1000)))
		return err
	}
	if got := Reason(ask(old, sql)); got != "SIGNATURE_INVALID" {
		t.Errorf("the replaced key: %q", got)
	}
	if err := ask(a.signerOf(Op(0), fresh), strings.Replace(sql, "60", "50", 1)); err != nil {
		t.Errorf("the new key: %v", err)
	}
}

// Acts that are no jobs: cancelling, ingesting, assessing and destroying are signed
// too, each for itself.
func TestAttack_ActsAreSigned(t *testing.T) {
	a := Shared(t)
	x := noted("acts", 200, "x")
	a.Add(t, x)
	conn := a.raw(t, Department)
	keys := sandgatev1.NewKeyServiceClient(conn)
	destroy := &sandgatev1.DestroySnapshotRequest{Dataset: "acts"}
	envelope := func(s *client.Signer, method, dataset string) context.Context {
		text, _, err := s.Sign(request.Statement{Method: method, Request: uuid.NewString(), Terms: map[string]string{request.TermDataset: dataset}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return metadata.AppendToOutgoingContext(t.Context(), request.Header, string(text))
	}
	mine := a.signerOf(Department, a.sign[Department])
	entries := len(a.Entries(t))
	for name, c := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"unsigned":         {t.Context(), "SIGNATURE_MISSING"},
		"another data set": {envelope(mine, request.MethodDestroy, "elsewhere"), "SIGNED_REQUEST_MISMATCH"},
		"another act":      {envelope(mine, request.MethodRisk, "acts"), "SIGNED_REQUEST_MISMATCH"},
		"another's key":    {envelope(a.signerOf(Department, a.sign[Other]), request.MethodDestroy, "acts"), "SIGNATURE_INVALID"},
		"no envelope":      {metadata.AppendToOutgoingContext(t.Context(), request.Header, "{}"), "SIGNED_REQUEST_MALFORMED"},
	} {
		if _, err := keys.DestroySnapshot(c.ctx, destroy); Reason(err) != c.want {
			t.Errorf("destroy, %s: %v, want %s", name, err, c.want)
		}
	}
	risk := &sandgatev1.AssessRiskRequest{Dataset: "acts", Quasi: []string{"age"}, Model: "enclave", ContextRisk: "0.1"}
	if _, err := sandgatev1.NewRiskServiceClient(conn).AssessRisk(envelope(mine, request.MethodRisk, "acts"), risk); Reason(err) != "SIGNED_REQUEST_MISMATCH" {
		t.Errorf("an assessment that was not signed: %v", err)
	}
	if got := len(a.Entries(t)); got != entries {
		t.Errorf("refused acts left %d entries", got-entries)
	}
	ingest := func(text string, signature *sandgatev1.IngestSignature) error {
		s, err := sandgatev1.NewDepartmentServiceClient(conn).IngestSnapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range []*sandgatev1.IngestSnapshotRequest{
			{Part: &sandgatev1.IngestSnapshotRequest_Header{Header: &sandgatev1.IngestHeader{Dataset: "acts", Format: "csv"}}},
			{Part: &sandgatev1.IngestSnapshotRequest_Chunk{Chunk: []byte(text)}},
			{Part: &sandgatev1.IngestSnapshotRequest_Signature{Signature: signature}},
		} {
			if err := s.Send(m); err != nil {
				break // Recv says why
			}
		}
		if err := s.CloseSend(); err != nil {
			t.Fatal(err)
		}
		for {
			if m, err := s.Recv(); err != nil || m.GetSnapshot() != nil {
				return err
			}
		}
	}
	signFile := func(s *client.Signer, text string) *sandgatev1.IngestSignature {
		sum := sha256.Sum256([]byte(text))
		st := request.Statement{Method: request.MethodIngest, Request: uuid.NewString(), Terms: map[string]string{request.TermDataset: "acts"}}
		env, salt, err := s.Sign(st, request.FileFields(hex.EncodeToString(sum[:]), "csv", false))
		if err != nil {
			t.Fatal(err)
		}
		return &sandgatev1.IngestSignature{SignedRequest: env, Salt: salt}
	}
	other := strings.Replace(x.CSV, ",1,", ",2,", 1)
	once := signFile(mine, x.CSV)
	for _, c := range []struct {
		name, text string
		signature  *sandgatev1.IngestSignature
		want       string
	}{
		{"unsigned", x.CSV, nil, "SIGNATURE_MISSING"},
		{"another file", other, signFile(mine, x.CSV), "SIGNED_REQUEST_MISMATCH"},
		{"another's key", x.CSV, signFile(a.signerOf(Department, a.sign[Other]), x.CSV), "SIGNATURE_INVALID"},
		{"control", x.CSV, once, ""},
		{"the same again", x.CSV, once, "SIGNED_REQUEST_REUSED"},
	} {
		if err := ingest(c.text, c.signature); Reason(err) != c.want {
			t.Errorf("ingest, %s: %v, want %q", c.name, err, c.want)
		}
	}
	// Controls: the client signs, and all of it works.
	c := a.Client(Department)
	if _, err := c.Risk.AssessRisk(t.Context(), risk); err != nil {
		t.Error(err)
	}
	if _, err := c.Keys.DestroySnapshot(t.Context(), destroy); err != nil {
		t.Error(err)
	}
}
