package entry

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

var commitment, _ = Commit([]byte("key"), []byte("query"))

func asking() Request {
	text := algebra.Type{Kind: algebra.Text}
	district := algebra.Col{Name: "district", Type: text}
	return Request{Job: "j", Request: "r", Licence: "l", Purpose: "p", Query: commitment, Core: &algebra.Core{
		Tables: []algebra.Table{{Dataset: "population"}},
		Where:  &algebra.Pred{Op: algebra.OpEq, Col: &district, Values: []algebra.Value{{Type: text, Redacted: true}}},
		Aggs:   []algebra.Agg{{Func: algebra.CountRows}},
	}}
}

// each returns one entry of every kind.
func each() []*Entry {
	reasons := []policies.Reason{{Code: "X", ZH: "不 <&> 行", EN: "no", Line: 1, Column: 2}}
	charges := budget.Charges("population", "alpha", 2026, 5, budget.DefaultLimits())
	return []*Entry{
		{Kind: KindGenesis, Actor: "gateway", Genesis: &Genesis{Origin: "o", Regulator: "r", RegulatorKey: "k", LogKey: "l", ReceiptKey: "c"}},
		{Kind: KindStarted, Actor: "gateway", Started: &Started{Version: "1", Tier: "full", Layers: []string{"seccomp"}, Storage: "aes-256-gcm"}},
		{Kind: KindStopped, Actor: "gateway"},
		{Kind: KindHeartbeat, Actor: "gateway", Heartbeat: &Beat{Released: 3}},
		{Kind: KindPolicy, Actor: "hrss", Policy: &Policy{Envelope: []byte{1, 2, 3}, Kinds: []policies.Kind{policies.KindGrading}}},
		{Kind: KindSnapshot, Actor: "hrss", Snapshot: &Snapshot{Dataset: "d", Snapshot: "s", Manifest: "m", Spec: "x"}},
		{Kind: KindRefused, Actor: "alpha", Refused: &Refused{Request: asking(), Analysis: reasons, Reasons: reasons}},
		{Kind: KindReserved, Actor: "alpha", Reserved: &Reserved{Request: asking(), Mode: "dp", Snapshots: []string{"s"}, Price: 5, Charges: charges}},
		{Kind: KindRepeated, Actor: "alpha", Repeated: &Repeated{Request: asking(), Of: "j0"}},
		{Kind: KindReleased, Actor: "gateway", Released: &Released{Job: "j", Digest: "d"}},
		{Kind: KindFailed, Actor: "gateway", Failed: &Failed{Job: "j", Code: "EXECUTION_FAILED"}},
		{Kind: KindFailed, Actor: "gateway", Failed: &Failed{Job: "j", Code: "CANCELLED", By: "alpha"}},
		{Kind: KindStarted, Actor: "gateway", Started: &Started{Version: "1", Tier: "full", Layers: []string{"seccomp"}, Storage: "aes-256-gcm", Tick: "250ms"}},
		{Kind: KindDutyNoted, Actor: "gateway", DutyNoted: &DutyNoted{Duty: "rule/o1/health", Phase: policies.PhaseOverdue, Owes: "health"}},
	}
}

func encoded(t testing.TB) [][]byte {
	t.Helper()
	var out [][]byte
	for i, e := range each() {
		e.V, e.Seq, e.At = Version, uint64(i), 1_700_000_000_000+int64(i)
		text, err := Encode(e)
		if err != nil {
			t.Fatalf("%s: %v", e.Kind, err)
		}
		out = append(out, text)
	}
	return out
}

func TestEntriesAreCanonical(t *testing.T) {
	for i, text := range encoded(t) {
		e, err := Decode(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		again, err := Encode(e)
		if err != nil || !bytes.Equal(again, text) || e.Seq != uint64(i) || e.Time().UnixMilli() != e.At {
			t.Errorf("%s came back as %s, %v", text, again, err)
		}
	}
}

func TestDecodeRefusesOtherSpellings(t *testing.T) {
	all := encoded(t)
	text := string(all[3])
	big := strings.Replace(string(all[1]), `"full"`, `"`+strings.Repeat("x", MaxBytes)+`"`, 1)
	for name, bad := range map[string]string{
		"empty": "", "null": "null", "list": "[]", "not JSON": "{",
		"space":             strings.Replace(text, `,`, `, `, 1),
		"newline behind":    text + "\n",
		"second value":      text + text,
		"version 2":         strings.Replace(text, `"v":1`, `"v":2`, 1),
		"version 0":         strings.Replace(text, `"v":1,`, ``, 1),
		"unknown kind":      strings.Replace(text, `gateway.heartbeat`, `gateway.hiccup`, 1),
		"no kind":           strings.Replace(text, `"kind":"gateway.heartbeat",`, ``, 1),
		"unknown field":     strings.Replace(text, `"v":1`, `"v":1,"extra":1`, 1),
		"unknown inner":     strings.Replace(text, `"released":3`, `"released":3,"x":1`, 1),
		"field in capitals": strings.Replace(text, `"v":1`, `"V":1`, 1),
		"field twice":       strings.Replace(text, `"v":1`, `"v":1,"v":1`, 1),
		"other order":       strings.Replace(text, `"v":1,"seq":3`, `"seq":3,"v":1`, 1),
		"number as 1e0":     strings.Replace(text, `"v":1`, `"v":1e0`, 1),
		"negative sequence": strings.Replace(text, `"seq":3`, `"seq":-3`, 1),
		"escaped letter":    strings.Replace(text, `"gateway"`, `"\u0067ateway"`, 1),
		"not UTF-8":         strings.Replace(text, `"gateway"`, "\"\xff\"", 1),
		"another's body":    strings.Replace(text, `"gateway.heartbeat"`, `"gateway.started"`, 1),
		"body of a stop":    strings.Replace(text, `"gateway.heartbeat"`, `"gateway.stopped"`, 1),
		"no body":           strings.Replace(string(all[2]), `gateway.stopped`, `gateway.heartbeat`, 1),
		"two bodies":        strings.Replace(text, `"heartbeat":`, `"failed":{"job":"j","code":"c"},"heartbeat":`, 1),
		"null body":         strings.Replace(text, `"heartbeat":`, `"failed":null,"heartbeat":`, 1),
		"too large":         big,
	} {
		if bad == text {
			t.Fatalf("%s: nothing was changed", name)
		}
		if e, err := Decode([]byte(bad)); err == nil {
			t.Errorf("%s: read as %+v", name, e)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	reserved := func(change func(*Entry)) *Entry {
		e := each()[7]
		e.V = Version
		change(e)
		return e
	}
	for name, e := range map[string]*Entry{
		"no version":      {Kind: KindStopped},
		"unknown kind":    {V: Version, Kind: "job.cancelled"},
		"no body":         {V: Version, Kind: KindReleased},
		"wrong body":      {V: Version, Kind: KindReleased, Failed: &Failed{}},
		"two bodies":      {V: Version, Kind: KindReleased, Released: &Released{}, Failed: &Failed{}},
		"too large":       {V: Version, Kind: KindPolicy, Policy: &Policy{Envelope: make([]byte, MaxBytes)}},
		"not UTF-8":       {V: Version, Kind: KindStopped, Actor: "\xff"},
		"no commitment":   reserved(func(e *Entry) { e.Reserved.Request.Query = "" }),
		"other spelling":  reserved(func(e *Entry) { e.Reserved.Request.Query = strings.ToUpper(commitment) }),
		"table index":     reserved(func(e *Entry) { e.Reserved.Request.Core.Where.Col.Table = 9 }),
		"core of nothing": reserved(func(e *Entry) { e.Reserved.Request.Core = &algebra.Core{} }),
	} {
		if text, err := Encode(e); err == nil {
			t.Errorf("%s: written as %.80s", name, text)
		}
	}
}

// A literal of an operator's query never reaches the ledger, whoever forgets to
// redact it.
func TestR01_NoLiteralEntersAnEntry(t *testing.T) {
	const secret = "110101199003078515"
	for _, e := range each()[6:9] {
		e.V = Version
		if _, err := Encode(e); err != nil {
			t.Fatalf("%s, redacted: %v", e.Kind, err)
		}
		e.request().Core.Where.Values[0] = algebra.Value{Type: algebra.Type{Kind: algebra.Text}, S: secret}
		_, err := Encode(e)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s, with a literal: %v", e.Kind, err)
		}
		raw, merr := written(e)
		if merr != nil {
			t.Fatal(merr)
		}
		if _, err := Decode(raw); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s, read with a literal: %v", e.Kind, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, text := range encoded(f) {
		f.Add(text)
	}
	f.Add([]byte(`{"v":1,"seq":0,"at":0,"kind":"gateway.stopped","actor":"\ufffd"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := Decode(text)
		if err != nil {
			return
		}
		again, err := Encode(e)
		if err != nil || !bytes.Equal(again, text) {
			t.Fatalf("%s was read and written as %s, %v", text, again, err)
		}
		var loose map[string]any
		if err := json.Unmarshal(text, &loose); err != nil || loose["v"] != float64(Version) {
			t.Fatalf("%s: %v", text, err)
		}
	})
}

func TestCommitments(t *testing.T) {
	a, salt := Commit([]byte("key"), []byte("SELECT 1"))
	if b, _ := Commit([]byte("key"), []byte("SELECT 1")); b != a {
		t.Error("equal queries commit differently: a repeat would not be recognised")
	}
	if OpenCommit(salt, []byte("SELECT 1")) != a {
		t.Error("the revealed salt does not open the commitment")
	}
	other, otherSalt := Commit([]byte("key"), []byte("SELECT 2"))
	byOther, _ := Commit([]byte("other key"), []byte("SELECT 1"))
	for name, c := range map[string]string{
		"another text":       OpenCommit(salt, []byte("SELECT 2")),
		"another salt":       OpenCommit(otherSalt, []byte("SELECT 1")),
		"no salt (a guess)":  OpenCommit(nil, []byte("SELECT 1")),
		"another query":      other,
		"another key":        byOther,
		"the boundary moved": OpenCommit(append(bytes.Clone(salt), 'S'), []byte("ELECT 1")),
		"an empty text":      OpenCommit(salt, nil),
	} {
		if c == a {
			t.Errorf("%s opens the commitment", name)
		}
	}
	if len(a) != 64 || len(salt) != 32 {
		t.Errorf("%d %d", len(a), len(salt))
	}
}
