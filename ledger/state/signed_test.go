package state

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// codeOf is the code of a reason in an error's chain.
func codeOf(err error) string {
	var r *policies.Reason
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

// signedAgain is a statement altered and signed anew by somebody.
func signedAgain(t testing.TB, s *request.Signed, by ed25519.PrivateKey, change func(*request.Statement)) *request.Signed {
	t.Helper()
	st := s.Statement
	if change != nil {
		change(&st)
	}
	out, err := request.Sign(st, by)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What stands in an operator's name must be signed by him: whoever holds every
// key of the gateway writes the entries below, and no reader takes one.
func TestAttack_NobodyAsksInAnOperatorsName(t *testing.T) {
	elsewhere := func(name, value string) func(*request.Statement) {
		return func(s *request.Statement) { s.Terms = map[string]string{name: value} }
	}
	for _, c := range []struct {
		name, want string
		forge      func(w *world, e *entry.Entry)
	}{
		{"as it was signed (control)", "", func(*world, *entry.Entry) {}},
		{"unsigned", "SIGNATURE_MISSING", func(_ *world, e *entry.Entry) { e.Signed = nil }},
		{"no signature", "SIGNATURE_INVALID", func(_ *world, e *entry.Entry) { e.Signed.Sig = nil }},
		{"signed by the gateway", "SIGNATURE_INVALID", func(w *world, e *entry.Entry) { e.Signed = signedAgain(w.t, e.Signed, keyOf("gateway"), nil) }},
		{"signed by another operator", "SIGNATURE_INVALID", func(w *world, e *entry.Entry) { e.Signed = signedAgain(w.t, e.Signed, keyOf("beta"), nil) }},
		{"signed by the regulator", "SIGNATURE_INVALID", func(w *world, e *entry.Entry) { e.Signed = signedAgain(w.t, e.Signed, keyOf("data_bureau"), nil) }},
		{"another operator's own", "SIGNED_REQUEST_MISMATCH", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("beta"), func(s *request.Statement) { s.Party = "beta" })
		}},
		{"statement altered", "SIGNATURE_INVALID", func(_ *world, e *entry.Entry) { e.Signed.Statement.Official = "somebody" }},
		{"of another request", "SIGNED_REQUEST_MISMATCH", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("alpha"), func(s *request.Statement) { s.Request = "alpha-0" })
		}},
		{"under another licence", "SIGNED_REQUEST_MISMATCH", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("alpha"), func(s *request.Statement) { s.Licence = "alpha-2024" })
		}},
		{"for another purpose", "SIGNED_REQUEST_MISMATCH", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("alpha"), func(s *request.Statement) { s.Purpose = "inclusive_finance" })
		}},
		{"at another price", "SIGNED_REQUEST_MISMATCH", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("alpha"), elsewhere(request.TermPrice, "1"))
		}},
		{"of a product", "SIGNED_REQUEST_MISMATCH", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("alpha"), func(s *request.Statement) {
				s.Method, s.Terms = request.MethodProduct, map[string]string{request.TermProduct: "p"}
			})
		}},
		{"to cancel", "SIGNED_REQUEST_MISMATCH", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("alpha"), func(s *request.Statement) { s.Method = request.MethodCancel })
		}},
		{"for another gateway", "SIGNED_REQUEST_MISMATCH", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("alpha"), func(s *request.Statement) { s.Origin = "sandgate.test/town" })
		}},
		{"without a text", "SIGNED_REQUEST_MISMATCH", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("alpha"), func(s *request.Statement) { s.Body = "" })
		}},
		{"kept and used later", "SIGNED_REQUEST_EXPIRED", func(w *world, e *entry.Entry) {
			e.At += (request.Validity + request.Tolerance).Milliseconds() + 1
		}},
		{"dated ahead", "SIGNED_REQUEST_EARLY", func(w *world, e *entry.Entry) {
			e.Signed = signedAgain(w.t, e.Signed, keyOf("alpha"), func(s *request.Statement) {
				s.IssuedAt += (request.Tolerance + time.Second).Milliseconds()
				s.NotAfter = s.IssuedAt + 1000
			})
		}},
	} {
		for kind, ask := range map[entry.Kind]func(w *world) Ask{
			entry.KindReserved: func(w *world) Ask { return w.ask("alpha", "q", counted("population")) },
			entry.KindRefused: func(w *world) Ask {
				a := w.ask("alpha", "q", counted("population"))
				a.Request.Purpose = "industry_research"
				return a
			},
			entry.KindRepeated: func(w *world) Ask {
				w.must(w.released(w.submit(w.ask("alpha", "again", counted("population")), entry.KindReserved)))
				return w.ask("alpha", "again", counted("population"))
			},
		} {
			t.Run(c.name+"/"+string(kind), func(t *testing.T) {
				w := city(t)
				e := copied(t, w.entryOf(ask(w)))
				if e.Kind != kind {
					t.Fatalf("decided %s", e.Kind)
				}
				before := picture(t, w.s)
				c.forge(w, e)
				err := w.try(e)
				if got := codeOf(err); got != c.want || (err == nil) != (c.want == "") {
					t.Fatalf("%v, want %q", err, c.want)
				}
				if err != nil && picture(t, w.s) != before {
					t.Error("a refused entry changed the state")
				}
			})
		}
	}
}

// The key is the one in force at the entry: what was signed under the old one
// stays good where it stands, and nothing new is.
func TestAttack_RetiredKeySignsNothing(t *testing.T) {
	w := city(t)
	w.submit(w.ask("alpha", "before", counted("population")), entry.KindReserved)
	old, fresh := keyOf("alpha"), keyOf("alpha, the second")
	text := strings.Replace(load(t, "city/registry.yaml"), publicText("alpha"), base64.StdEncoding.EncodeToString(fresh.Public().(ed25519.PublicKey)), 1)
	w.policy(text, "data_bureau", "alpha")
	e := w.entryOf(w.ask("alpha", "after", counted("population")))
	if got := codeOf(w.try(copied(t, e))); got != "SIGNATURE_INVALID" {
		t.Errorf("by the retired key: %q", got)
	}
	e.Signed = signedAgain(t, e.Signed, fresh, nil)
	w.must(e)
	if !old.Equal(keyOf("alpha")) {
		t.Fatal("the control is gone")
	}
	// The whole is replayed: every entry under the key of its own time.
	again := New()
	for i, e := range w.entries {
		if err := again.ApplyEntry(uint64(i), e); err != nil {
			t.Fatal(err)
		}
	}
}

// A signature stands where something compares it, and nowhere else.
func TestSignatureStandsOnlyWhereItIsChecked(t *testing.T) {
	w := city(t)
	a := w.ask("alpha", "q", counted("population"))
	e := w.next(entry.KindHeartbeat, "gateway")
	e.Heartbeat, e.Signed = &entry.Beat{}, w.signed(a, nil)
	if w.try(e) == nil {
		t.Error("a heartbeat holds a signed request")
	}
}

// Acts that are no jobs stand under a signature of their own, once.
func TestAttack_NobodyActsInAPartysName(t *testing.T) {
	w := city(t)
	open := w.submit(w.ask("alpha", "open", counted("population")), entry.KindReserved)
	cancelled := func(by string) *entry.Entry {
		e := w.next(entry.KindFailed, "gateway")
		e.Failed = &entry.Failed{Job: open, Code: Cancelled, By: by}
		e.Signed = w.act("alpha", ActCancel(open))
		return e
	}
	acts := map[string]func() *entry.Entry{
		"ingest":  func() *entry.Entry { return w.snapshotOf("visits") },
		"assess":  func() *entry.Entry { return w.assessed(nil) },
		"destroy": func() *entry.Entry { return w.destroyed("health", "visits") },
		"cancel":  func() *entry.Entry { return cancelled("alpha") },
	}
	for _, name := range []string{"ingest", "assess", "cancel", "destroy"} {
		make := acts[name]
		for what, c := range map[string]struct {
			want  string
			forge func(e *entry.Entry)
		}{
			"unsigned":       {"SIGNATURE_MISSING", func(e *entry.Entry) { e.Signed = nil }},
			"by the gateway": {"SIGNATURE_INVALID", func(e *entry.Entry) { e.Signed = signedAgain(t, e.Signed, keyOf("gateway"), nil) }},
			"another act": {"SIGNED_REQUEST_MISMATCH", func(e *entry.Entry) {
				e.Signed = signedAgain(t, e.Signed, keyOf(e.Signed.Statement.Party), func(s *request.Statement) { s.Method = request.MethodQuery })
			}},
			"on another thing": {"SIGNED_REQUEST_MISMATCH", func(e *entry.Entry) {
				e.Signed = signedAgain(t, e.Signed, keyOf(e.Signed.Statement.Party), func(s *request.Statement) { s.Terms = map[string]string{"dataset": "x"} })
			}},
			"another body": {"SIGNED_REQUEST_MISMATCH", func(e *entry.Entry) {
				e.Signed = signedAgain(t, e.Signed, keyOf(e.Signed.Statement.Party), func(s *request.Statement) {
					if s.Body != "" && name == "ingest" {
						s.Body = ""
						return
					}
					s.Body = request.Commit(nil, []request.Field{{Name: "x", Value: "y"}})
				})
			}},
			"expired": {"SIGNED_REQUEST_EXPIRED", func(e *entry.Entry) { e.At += time.Hour.Milliseconds() }},
		} {
			before := picture(t, w.s)
			e := copied(t, make())
			c.forge(e)
			if got := codeOf(w.try(e)); got != c.want {
				t.Errorf("%s, %s: %q, want %q", name, what, got, c.want)
			}
			if picture(t, w.s) != before {
				t.Errorf("%s, %s: a refused entry changed the state", name, what)
			}
		}
		e := make()
		w.must(e) // control
		if name != "cancel" && name != "destroy" {
			again := make()
			again.Signed = e.Signed
			if got := codeOf(w.try(again)); got != "SIGNED_REQUEST_REUSED" {
				t.Errorf("%s with a used signature: %q", name, got)
			}
		}
	}
	// A failure that nobody asked for holds no signature.
	job := w.submit(w.ask("alpha", "another", counted("population")), entry.KindReserved)
	e := w.failed(job)
	e.Signed = w.act("alpha", ActCancel(job))
	if w.try(e) == nil {
		t.Error("a failed execution holds a signed request")
	}
}
