package request

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

var (
	seed = sha("alpha")
	key  = ed25519.NewKeyFromSeed(seed)
	pub  = key.Public().(ed25519.PublicKey)
	salt = bytes.Repeat([]byte{7}, SaltBytes)
	at   = time.UnixMilli(1_790_000_000_000)
)

func sha(s string) []byte {
	h, _ := hex.DecodeString(Commit(nil, []Field{{"seed", s}}))
	return h
}

var asked = Query{SQL: "SELECT district, COUNT(*) AS n FROM population WHERE age > $1 GROUP BY district", Parameters: []string{"60"}}

func statement() Statement {
	return Statement{V: 1, Origin: "sandgate.example/city", Party: "alpha", Official: "wang.li", Method: MethodQuery, Request: "7f8b1c1e-3d5a-4a7e-9a61-0d6a0f3c2b11",
		Licence: "alpha-2026", Purpose: "urban_planning", Terms: map[string]string{TermPrice: "2000000"}, IssuedAt: at.UnixMilli(), NotAfter: at.Add(Validity).UnixMilli(), Body: Commit(salt, asked.Fields())}
}

func signed(t testing.TB, s Statement) *Signed {
	t.Helper()
	out, err := Sign(s, key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func envelope(t testing.TB, s *Signed) []byte {
	t.Helper()
	out, err := s.Envelope()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSignedRequestOpensAsItWasSigned(t *testing.T) {
	want := signed(t, statement())
	got, err := Open(envelope(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Verify(pub); err != nil {
		t.Error(err)
	}
	a, _ := got.Statement.Bytes()
	b, _ := want.Statement.Bytes()
	if !bytes.Equal(a, b) || !bytes.Equal(got.Sig, want.Sig) {
		t.Errorf("%s came back as %s", b, a)
	}
	if err := got.Statement.CheckBody(salt, asked.Fields()); err != nil {
		t.Error(err)
	}
	q, err := QueryOf(asked.Fields())
	if err != nil || q.SQL != asked.SQL || !slices.Equal(q.Parameters, asked.Parameters) {
		t.Errorf("%v %v", q, err)
	}
}

// Every field of a statement is under the signature.
func TestAttack_EveryFieldIsSigned(t *testing.T) {
	for name, change := range map[string]func(*Statement){
		"origin":   func(s *Statement) { s.Origin = "sandgate.example/elsewhere" },
		"party":    func(s *Statement) { s.Party = "beta" },
		"official": func(s *Statement) { s.Official = "" },
		"method":   func(s *Statement) { s.Method = MethodProduct },
		"request":  func(s *Statement) { s.Request = "another" },
		"licence":  func(s *Statement) { s.Licence = "alpha-2025" },
		"purpose":  func(s *Statement) { s.Purpose = "inclusive_finance" },
		"price":    func(s *Statement) { s.Terms = map[string]string{TermPrice: "2000001"} },
		"no price": func(s *Statement) { s.Terms = nil },
		"issued":   func(s *Statement) { s.IssuedAt++ },
		"until":    func(s *Statement) { s.NotAfter++ },
		"body":     func(s *Statement) { s.Body = Commit(salt, nil) },
		"nothing":  func(*Statement) {},
	} {
		s := signed(t, statement())
		change(&s.Statement)
		err := s.Verify(pub)
		if control := name == "nothing"; control != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSignatureBindsKeyAndPayloadType(t *testing.T) {
	s := signed(t, statement())
	other := ed25519.NewKeyFromSeed(sha("beta"))
	if s.Verify(other.Public().(ed25519.PublicKey)) == nil {
		t.Error("another party's key verifies")
	}
	text, _ := s.Statement.Bytes()
	for _, typ := range []string{"application/vnd.sandgate.policy+yaml", "application/vnd.sandgate.recovery+json", ""} {
		forged := &Signed{Statement: s.Statement, Sig: ed25519.Sign(key, dsse.PAE(typ, text))}
		if forged.Verify(pub) == nil {
			t.Errorf("a signature under %q counts as one of a request", typ)
		}
	}
	if (&Signed{Statement: s.Statement, Sig: ed25519.Sign(key, text)}).Verify(pub) == nil {
		t.Error("a signature without pre-authentication encoding counts")
	}
}

func TestCommitmentHidesAndBinds(t *testing.T) {
	s := statement()
	for name, body := range map[string][]Field{
		"text":            Query{SQL: asked.SQL + " ", Parameters: asked.Parameters}.Fields(),
		"parameter":       Query{SQL: asked.SQL, Parameters: []string{"61"}}.Fields(),
		"more parameters": Query{SQL: asked.SQL, Parameters: []string{"60", ""}}.Fields(),
		"moved bytes":     {{"sq", "l" + asked.SQL}, {"parameter", "60"}},
		"targets":         Query{SQL: asked.SQL, Parameters: asked.Parameters, Targets: []Target{{"n", "50", 0}}}.Fields(),
		"nothing":         nil,
	} {
		var f *Fault
		if err := s.CheckBody(salt, body); !errors.As(err, &f) || f.Code != "SIGNED_REQUEST_MISMATCH" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s.CheckBody(bytes.Repeat([]byte{8}, SaltBytes), asked.Fields()) == nil || s.CheckBody(salt[:31], asked.Fields()) == nil || s.CheckBody(nil, asked.Fields()) == nil {
		t.Error("another salt opens the commitment")
	}
	text, _ := s.Bytes()
	if bytes.Contains(text, []byte("SELECT")) || bytes.Contains(text, []byte("population")) {
		t.Errorf("the statement shows the text: %s", text)
	}
}

func TestFreshness(t *testing.T) {
	s := statement()
	for _, c := range []struct {
		at   time.Time
		want error
	}{
		{at, nil}, {at.Add(-Tolerance), nil}, {at.Add(-Tolerance - time.Millisecond), ErrEarly},
		{at.Add(Validity + Tolerance), nil}, {at.Add(Validity + Tolerance + time.Millisecond), ErrExpired},
	} {
		if err := s.Fresh(c.at); err != c.want {
			t.Errorf("%v: %v, want %v", c.at.Sub(at), err, c.want)
		}
	}
}

func TestOpenRefusesOtherSpellings(t *testing.T) {
	s := signed(t, statement())
	text, _ := s.Statement.Bytes()
	wrap := func(payload []byte, keyids ...string) []byte {
		env := dsse.Envelope{PayloadType: PayloadType, Payload: base64.StdEncoding.EncodeToString(payload)}
		for _, k := range keyids {
			env.Signatures = append(env.Signatures, dsse.Signature{KeyID: k, Sig: base64.StdEncoding.EncodeToString(ed25519.Sign(key, dsse.PAE(PayloadType, payload)))})
		}
		out, _ := json.Marshal(env)
		return out
	}
	if _, err := Open(wrap(text, "alpha")); err != nil {
		t.Fatal(err)
	}
	edit := func(old, new string) []byte {
		out := strings.Replace(string(text), old, new, 1)
		if out == string(text) {
			t.Fatalf("nothing to edit: %s", old)
		}
		return wrap([]byte(out), "alpha")
	}
	for name, env := range map[string][]byte{
		"empty": nil, "not JSON": []byte("{"), "null": []byte("null"), "list": []byte("[]"), "large": bytes.Repeat([]byte(" "), MaxEnvelopeBytes+1),
		"other type":       bytes.Replace(wrap(text, "alpha"), []byte("sandgate.request"), []byte("sandgate.policy"), 1),
		"two signatures":   wrap(text, "alpha", "alpha"),
		"no signature":     wrap(text),
		"other keyid":      wrap(text, "beta"),
		"white space":      edit(`{"v":1,`, `{"v": 1,`),
		"trailing":         wrap(append(slices.Clone(text), '\n'), "alpha"),
		"two values":       wrap(append(slices.Clone(text), "{}"...), "alpha"),
		"order":            edit(`"v":1,"origin":"sandgate.example/city"`, `"origin":"sandgate.example/city","v":1`),
		"capitals":         edit(`"party"`, `"Party"`),
		"unknown field":    edit(`"v":1,`, `"v":1,"so":1,`),
		"twice":            edit(`"v":1,`, `"v":1,"v":1,`),
		"escape":           edit(`"alpha"`, `"\u0061lpha"`),
		"empty official":   edit(`"wang.li"`, `""`),
		"version":          edit(`"v":1`, `"v":2`),
		"party":            edit(`"alpha"`, `"Alpha 公司"`),
		"an id as account": edit(`wang.li`, `w110101199003078515`),
		"quote":            edit(`alpha-2026`, `alpha\"2026`),
		"licence":          edit(`alpha-2026`, `授权`),
		"body":             edit(`"body":"`, `"body":"0`),
		"long validity":    edit(`"not_after":1790000600000`, `"not_after":1790000900001`),
		"backwards":        edit(`"not_after":1790000600000`, `"not_after":1789999999999`),
		"fraction":         edit(`"not_after":1790000600000`, `"not_after":1790000600000.0`),
		"null terms":       edit(`"terms":{"price_nano_rho":"2000000"}`, `"terms":null`),
		"empty terms":      edit(`"terms":{"price_nano_rho":"2000000"}`, `"terms":{}`),
	} {
		if got, err := Open(env); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		} else if strings.Contains(err.Error(), "110101199003078515") || strings.Contains(err.Error(), "2000000") {
			t.Errorf("%s: the error repeats the request: %v", name, err)
		}
	}
}

// The vector of docs/requests.md: whoever writes a client in another language
// compares bytes.
func TestVectorOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "requests.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := signed(t, statement())
	st, _ := s.Statement.Bytes()
	for name, want := range map[string]string{
		"seed": hex.EncodeToString(seed), "public key": base64.StdEncoding.EncodeToString(pub), "salt": hex.EncodeToString(salt), "text": asked.SQL,
		"body": s.Statement.Body, "statement": string(st), "signature": base64.StdEncoding.EncodeToString(s.Sig), "envelope": string(envelope(t, s)),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/requests.md lacks the %s %s", name, want)
		}
	}
}

func TestOpeningIsKeptAndRead(t *testing.T) {
	o := Opening{V: 1, Signed: *signed(t, statement()), Salt: salt, Body: asked.Fields()}
	text, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseOpening(text); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]string{
		"another text": strings.Replace(string(text), "age \\u003e $1", "age \\u003e $2", 1), "version": strings.Replace(string(text), `"v": 1`, `"v": 3`, 1), "not one": "[]", "empty": "",
	} {
		if bad == string(text) {
			t.Fatalf("%s: nothing to edit", name)
		}
		if _, err := ParseOpening([]byte(bad)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s, err := Sign(statement(), key)
	if err != nil {
		f.Fatal(err)
	}
	env, err := s.Envelope()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(env)
	f.Add([]byte(`{"payloadType":"application/vnd.sandgate.request+json","payload":"e30=","signatures":[]}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, env []byte) {
		s, err := Open(env)
		if err != nil {
			return
		}
		// What opens has one encoding, and opens again from it.
		again, err := s.Envelope()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(again); err != nil {
			t.Fatal(err)
		}
	})
}

// A slip of arguments must not bring a person's number into the ledger as a name.
func TestR34_NumbersAreNoNames(t *testing.T) {
	for name, change := range map[string]func(*Statement){
		"identity number as licence": func(s *Statement) { s.Licence = "l-239902196203215088" },
		"with its last letter":       func(s *Statement) { s.Licence = "23990219620321508X" },
		"telephone as purpose":       func(s *Statement) { s.Purpose = "x13800138000" },
		"card as product":            func(s *Statement) { s.Terms = map[string]string{TermProduct: "6222021234567890123"} },
		"old number as data set":     func(s *Statement) { s.Terms = map[string]string{TermDataset: "239902620321508"} },
	} {
		s := statement()
		change(&s)
		if err := s.Check(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, id := range []string{"alpha-2026", "20261122001", "r-2026-0017", "reg-150000-2026-000123"} {
		s := statement()
		s.Licence = id
		if err := s.Check(); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}
