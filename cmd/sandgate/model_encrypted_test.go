package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model/encrypted"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
)

// ciphers KIT MODEL ROWS HOW CODE has encrypted rows scored by a client that does not
// keep to the protocol, and expects a refusal that says CODE; "scored" is none.
func cmdCiphers(ts *testscript.TestScript, neg bool, a []string) {
	noNeg(ts, neg)
	args(ts, a, "ciphers KIT MODEL ROWS HOW CODE", 5, 5)
	kit, err := home.OpenKit(ts.MkAbs(a[0]))
	ts.Check(err)
	cl, err := client.Dial(kit, ts.Getenv("SANDGATE_SERVER"))
	ts.Check(err)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	text, err := os.ReadFile(ts.MkAbs(a[2]))
	ts.Check(err)
	var rows [][]string
	for line := range strings.Lines(string(text)) {
		rows = append(rows, strings.Split(strings.TrimSpace(line), ","))
	}
	schema, err := cl.Inputs(ctx, a[1])
	ts.Check(err)
	data, err := engine.CodeRows(schema, rows[0], rows[1:])
	ts.Check(err)
	call, err := cl.Encrypt(a[1], schema, data, nil)
	ts.Check(err)
	last := call.Parts[len(call.Parts)-1]
	switch a[3] {
	case "honest":
	case "residue": // not below the modulus
		last[encrypted.PartBytes-1] = 0x80
	case "short":
		call.Parts[0] = call.Parts[0][8:]
	case "another": // canonical, but not what was signed
		copy(last, make([]byte, 8))
	case "fewer":
		call.Parts = call.Parts[1:]
	case "more":
		call.Parts = append(call.Parts, bytes.Clone(last))
	case "rows": // more than were signed
		call.Begin.Rows++
	case "many":
		call.Begin.Rows = encrypted.BlockRows + 1
	case "key":
		call.Begin.Key = bytes.Repeat([]byte{255}, encrypted.KeyBytes)
	case "seed":
		call.Begin.Seed = nil
	case "renamed": // another request than the one signed
		call.Begin.RequestId = uuid.NewString()
	case "unsigned":
		call.Begin.SignedRequest = nil
	case "begun":
		call.Begin.Ciphertext = last
	case "again":
		_, err := cl.ScoreEncrypted(ctx, call)
		ts.Check(err)
	default:
		ts.Fatalf("unknown way %s", a[3])
	}
	_, err = cl.ScoreEncrypted(ctx, call)
	switch {
	case a[4] == "scored":
		ts.Check(err)
	case err == nil:
		ts.Fatalf("%s: scored", a[3])
	case !strings.Contains(codesOf(err), a[4]):
		ts.Fatalf("%s: %s", a[3], codesOf(err))
	default:
		ts.Logf("%s: %s", a[3], codesOf(err))
	}
}

// codesOf is every code that a refusal gives.
func codesOf(err error) string {
	p := client.ProblemOf(err)
	if p == nil {
		return err.Error()
	}
	codes := []string{p.Reason}
	for _, r := range p.Reasons {
		codes = append(codes, r.GetCode())
	}
	return strings.Join(codes, " ")
}
