package policies

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// An old signed bundle must not be able to come back: its signature never
// expires, and whoever kept it could undo a department's later policy.
func TestBundleCountsOnce(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	registry := func(purpose string) []byte {
		text := fmt.Sprintf("kind: Registry\nparties: [{id: bureau, role: regulator, title: {zh: 局}, key: %q}]\npurposes: [{id: %s, title: {zh: 用途}, fee: welfare}]\n",
			base64.StdEncoding.EncodeToString(pub), purpose)
		env, err := Sign(nil, []byte(text), "bureau", key)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(env)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	first, second := registry("one"), registry("two")
	b := NewBook("bureau", pub)
	for _, env := range [][]byte{first, second} {
		if b, _, err = b.Apply(env, applied); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := b.Apply(first, applied); err == nil || !strings.Contains(err.Error(), "applied before") {
		t.Fatalf("the first registry came back: %v", err)
	}
	if _, ok := b.Purpose("two"); !ok {
		t.Fatal("the later registry is not in force")
	}
	if !SignedBy(first, "bureau") || SignedBy(first, "health") {
		t.Fatal("SignedBy does not read the signers")
	}
}
