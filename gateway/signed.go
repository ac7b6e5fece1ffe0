package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"time"

	"google.golang.org/grpc/metadata"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// asked opens what an operator signed for a job and checks it against the text,
// parameters and target errors that came with it. It is checked before anything
// is analysed: nobody else's text costs the operator's place in a queue. The
// ledger's own check, under the key in force at the entry, comes on top.
func (d *Domain) asked(operator, requestID string, q Query) (*request.Signed, error) {
	body := request.Query{SQL: q.SQL, Parameters: q.Parameters}
	for _, t := range q.Targets {
		body.Targets = append(body.Targets, request.Target(t))
	}
	return d.openRequest(operator, requestID, q.Signed, q.Salt, body.Fields())
}

// openRequest opens an envelope and checks it against the body that came with it.
func (d *Domain) openRequest(operator, requestID string, envelope, salt []byte, body []request.Field) (*request.Signed, error) {
	signed, err := request.Open(envelope)
	if err == nil && signed.Statement.Request != requestID {
		err = request.Mismatch("request_id")
	}
	if err == nil {
		err = signed.Statement.CheckBody(salt, body)
	}
	if err != nil {
		return nil, policies.SignatureFault(err, operator)
	}
	// Only the key is taken in the sequencer; verifying takes longer than deciding.
	var key []byte
	var origin string
	var at time.Time
	d.log.View(func() {
		key, _ = d.state.Book().PartyKey(operator)
		origin, at = d.state.Genesis().Origin, d.instant()
	})
	if x := policies.CheckSignedBy(signed, key, origin, operator, at); x != nil {
		return nil, x
	}
	return signed, nil
}

// sameRequest compares what will be recorded with what was signed.
func sameRequest(operator string, p *prepared) error {
	if x := state.SameRequest(p.signed.Statement, operator, p.request); x != nil {
		return x
	}
	return nil
}

type envelopeKey struct{}

// act is what a party signed of a call under way.
type act struct {
	envelope []byte
	signed   *request.Signed // nil until it was opened
}

// withEnvelope takes the envelope of a call from its metadata.
func withEnvelope(ctx context.Context) context.Context {
	if values := metadata.ValueFromIncomingContext(ctx, request.Header); len(values) == 1 {
		return context.WithValue(ctx, envelopeKey{}, &act{envelope: []byte(values[0])})
	}
	return ctx
}

// signedOf is what was signed of a call, once signedAct or the end of a file has
// opened it.
func signedOf(ctx context.Context) *request.Signed {
	a, _ := ctx.Value(envelopeKey{}).(*act)
	if a == nil {
		return nil
	}
	return a.signed
}

// signedAct opens what a party signed of an act and checks it, before anything is
// done that cannot be undone. The entry's own check comes on top.
func (d *Domain) signedAct(ctx context.Context, party string, want state.Act) error {
	a, _ := ctx.Value(envelopeKey{}).(*act)
	if a == nil {
		return policies.SignatureFault(request.ErrMissing, party)
	}
	if a.signed == nil {
		signed, err := request.Open(a.envelope)
		if err != nil {
			return policies.SignatureFault(err, party)
		}
		a.signed = signed
	}
	var x *policies.Reason
	d.log.View(func() { x = d.state.CheckAct(a.signed, party, want, d.instant()) })
	if x != nil {
		return x
	}
	return nil
}

// signedFile is a file under way with what its department signs of it.
type signedFile struct {
	head      *sandgatev1.IngestHeader
	party     string
	sum       hash.Hash // of the bytes that came
	signature *sandgatev1.IngestSignature
	act       *act
}

// withFile prepares a context for the signature that comes behind a file.
func withFile(ctx context.Context, head *sandgatev1.IngestHeader) (context.Context, *signedFile) {
	f := &signedFile{head: head, party: caller(ctx), sum: sha256.New(), act: &act{}}
	return context.WithValue(ctx, envelopeKey{}, f.act), f
}

// end is io.EOF for a file that is signed as it came. Who signed, the entry's
// check says, and that comes before the snapshot is in service.
func (f *signedFile) end() error {
	signed, err := request.Open(f.signature.GetSignedRequest())
	if err == nil {
		body := request.FileFields(hex.EncodeToString(f.sum.Sum(nil)), f.head.GetFormat(), f.head.GetAllowEmpty())
		err = signed.Statement.CheckBody(f.signature.GetSalt(), body)
	}
	if err != nil {
		return policies.SignatureFault(err, f.party)
	}
	f.act.signed = signed
	return io.EOF
}
