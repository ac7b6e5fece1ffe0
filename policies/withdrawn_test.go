package policies

import (
	"crypto/ed25519"
	"encoding/base64"
	"testing"
	"time"
)

// TestR37_WithdrawnAccount: an ended account may do nothing and sign nothing,
// while its name stays known.
func TestR37_WithdrawnAccount(t *testing.T) {
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, withdrawn := range []bool{false, true} {
		b := NewBook("bureau", pub)
		b.registered = true
		b.parties["alpha"] = Party{ID: "alpha", Role: RoleOperator, Key: base64.StdEncoding.EncodeToString(pub), Withdrawn: withdrawn}
		_, signs := b.key("alpha")
		if denied := b.Authorize("alpha", ActSubmitJob, Resource{}) != nil; denied != withdrawn || signs == withdrawn {
			t.Errorf("withdrawn %v: denied %v, may sign %v", withdrawn, denied, signs)
		}
		reasons := b.Decide(Request{Operator: "alpha", Licence: "none", At: time.Unix(0, 0)})
		if got := reasons[0].Code == "PARTY_WITHDRAWN"; got != withdrawn {
			t.Errorf("withdrawn %v: first reason %s", withdrawn, reasons[0].Code)
		}
	}
}
