package policies

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// R35: only the regulator's own signature over the very text confirms a
// restoration, and no other document of his does.
func TestR35_Recovery(t *testing.T) {
	b := town(t, "")
	r := Recovery{Origin: "city", Home: strings.Repeat("01", 32), Size: 7, Root: strings.Repeat("02", 32)}
	sign := func(r Recovery, party string) []byte {
		text, err := SignRecovery(r, party, keyOf(party))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	good := sign(r, "bureau")
	if got, err := b.CheckRecovery(good); err != nil || got != r {
		t.Fatalf("%+v, %v", got, err)
	}
	change := func(f func(e *dsse.Envelope)) []byte {
		var e dsse.Envelope
		if err := json.Unmarshal(good, &e); err != nil {
			t.Fatal(err)
		}
		f(&e)
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	var other dsse.Envelope
	if err := json.Unmarshal(sign(Recovery{Origin: "city", Home: r.Home, Size: 8, Root: r.Root, Whole: true}, "bureau"), &other); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"a department's": sign(r, "dept"), "an operator's": sign(r, "op"), "nobody's": sign(r, "nobody"),
		"a department's under the regulator's name": change(func(e *dsse.Envelope) {
			var d dsse.Envelope
			_ = json.Unmarshal(sign(r, "dept"), &d)
			e.Signatures[0].Sig = d.Signatures[0].Sig
		}),
		"another text":       change(func(e *dsse.Envelope) { e.Payload = other.Payload }),
		"signed twice":       change(func(e *dsse.Envelope) { e.Signatures = append(e.Signatures, e.Signatures[0]) }),
		"not signed":         change(func(e *dsse.Envelope) { e.Signatures = nil }),
		"a policy's type":    change(func(e *dsse.Envelope) { e.PayloadType = PayloadType }),
		"a signed bundle":    signed(t, "kind: Registry\nparties: []\n", "bureau"),
		"not an envelope":    []byte("x"),
		"nothing":            nil,
		"payload not base64": change(func(e *dsse.Envelope) { e.Payload = "*" }),
	} {
		if _, err := b.CheckRecovery(text); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	for _, bad := range []Recovery{{}, {Origin: "city", Home: "01", Size: 1, Root: r.Root}, {Origin: "city", Home: r.Home, Root: r.Root}, {Home: r.Home, Size: 1, Root: r.Root}} {
		if _, err := SignRecovery(bad, "bureau", keyOf("bureau")); err == nil {
			t.Errorf("%+v was signed", bad)
		}
	}
}

// A confirmation that is not one never crashes and is never taken.
func FuzzRecovery(f *testing.F) {
	b := town(f, "")
	good, err := SignRecovery(Recovery{Origin: "c", Home: strings.Repeat("01", 32), Size: 1, Root: strings.Repeat("02", 32)}, "bureau", keyOf("bureau"))
	if err != nil {
		f.Fatal(err)
	}
	want, err := b.CheckRecovery(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"payloadType":"application/vnd.sandgate.recovery+json","payload":"e30=","signatures":[{"keyid":"bureau","sig":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := b.CheckRecovery(text); err == nil && got != want {
			t.Errorf("%+v is taken", got)
		}
	})
}
