package state

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// destroyed is a true certificate of a data set, as the ledger stands.
func (w *world) destroyed(actor, dataset string) *entry.Entry {
	snap, _ := w.s.Snapshot(dataset)
	e := w.next(entry.KindDestroyed, actor)
	e.Destroyed = &entry.Destroyed{Dataset: dataset, Snapshot: snap.Snapshot, Manifest: snap.Manifest, Method: "crypto-erase"}
	if actor != "gateway" {
		e.Signed = w.act(actor, ActDestroy(dataset))
	}
	return e
}

// R36: a certificate holds only for the snapshot in force, from who may, and when
// no reservation is open; nothing is answered from the data set afterwards.
func TestR36_Certificate(t *testing.T) {
	w := city(t)
	open := w.ask("alpha", "d1", counted("population"))
	w.submit(open, entry.KindReserved)
	if err := w.try(w.destroyed("public_security", "population")); err == nil || !strings.Contains(err.Error(), "open reservation") {
		t.Errorf("under an open reservation: %v", err)
	}
	failed := w.next(entry.KindFailed, "gateway")
	failed.Failed = &entry.Failed{Job: open.Request.Job, Code: "SNAPSHOT_DESTROYED"}
	w.must(failed)
	other := strings.Repeat("ab", 32)
	for name, change := range map[string]func(e *entry.Entry){
		"another department":  func(e *entry.Entry) { e.Actor = "health" },
		"an operator":         func(e *entry.Entry) { e.Actor = "alpha" },
		"the regulator":       func(e *entry.Entry) { e.Actor = "data_bureau" },
		"the gateway":         func(e *entry.Entry) { e.Actor = "gateway" },
		"another snapshot":    func(e *entry.Entry) { e.Destroyed.Snapshot = other },
		"another manifest":    func(e *entry.Entry) { e.Destroyed.Manifest = other },
		"no hash":             func(e *entry.Entry) { e.Destroyed.Snapshot = "x" },
		"another method":      func(e *entry.Entry) { e.Destroyed.Method = "shredder" },
		"an unknown data set": func(e *entry.Entry) { e.Destroyed.Dataset = "nothing" },
		"no data set":         func(e *entry.Entry) { e.Destroyed.Dataset = "" },
	} {
		e := w.destroyed("public_security", "population")
		change(e)
		if err := w.try(e); err == nil {
			t.Errorf("a certificate of %s is taken", name)
		}
	}
	w.must(w.destroyed("public_security", "population"))
	if d := w.s.Decide(w.ask("alpha", "d2", counted("population"))); d.Refused == nil || d.Refused.Reasons[0].Code != "NO_SNAPSHOT" || !strings.Contains(d.Refused.Reasons[0].EN, "destroyed") {
		t.Errorf("decision %+v", d)
	}
	if got := w.s.Destructions("population"); len(got) != 1 || got[0].Seq != w.s.Size()-1 {
		t.Errorf("destructions %+v", got)
	}
	if got := w.s.Destroyed(); len(got) != 1 || got[0] != "population" {
		t.Errorf("destroyed %v", got)
	}
	if err := w.try(w.destroyed("public_security", "population")); err == nil {
		t.Error("what is gone is destroyed again")
	}
	w.must(w.snapshotOf("population"))
	if d := w.s.Decide(w.ask("alpha", "d3", counted("population"))); d.Refused != nil {
		t.Errorf("after a new ingest: %+v", d.Refused)
	}
}

// R36: the regulator destroys what is suspended, or whose department is gone.
func TestR36_RegulatorDestroysWhatIsWithdrawn(t *testing.T) {
	w := city(t)
	x := w.s.CheckDestroy("data_bureau", "population")
	if x == nil || x.Code != "PERMISSION_DENIED" {
		t.Fatalf("in use: %v", x)
	}
	registry := load(t, "city/registry.yaml")
	gone := strings.Replace(registry, "- id: public_security\n", "- id: public_security\n    withdrawn: true\n", 1)
	if gone == registry {
		t.Fatal("the registry's form changed")
	}
	w.policy(gone, "data_bureau")
	if x := w.s.CheckDestroy("data_bureau", "population"); x != nil {
		t.Errorf("with its department withdrawn: %v", x)
	}
	if x := w.s.CheckDestroy("public_security", "population"); x == nil {
		t.Error("a withdrawn department may")
	}
	w.must(w.destroyed("data_bureau", "population"))
}

// R34: a rotation is the regulator's or the gateway's, and names two keys.
func TestR34_RotationEntry(t *testing.T) {
	w := city(t)
	rotated := func(actor, from, to string) error {
		e := w.next(entry.KindRotated, actor)
		e.Rotated = &entry.Rotated{Key: "storage", From: from, To: to, Moved: 3}
		return w.try(e)
	}
	for _, actor := range []string{"alpha", "health", "nobody"} {
		if rotated(actor, "local:a", "local:b") == nil {
			t.Errorf("%s may rotate", actor)
		}
	}
	if rotated("data_bureau", "local:a", "local:a") == nil || rotated("data_bureau", "", "local:a") == nil {
		t.Error("a rotation without two keys is taken")
	}
	if err := rotated("data_bureau", "local:a", "local:b"); err != nil {
		t.Error(err)
	}
	if err := rotated("gateway", "local:b", "vault:t/k:v1"); err != nil {
		t.Error(err)
	}
	if got := w.s.StorageKey(); got != "vault:t/k:v1" {
		t.Errorf("key in force %q", got)
	}
}

// R35: a restored ledger goes on only under a confirmation for it; with the loss
// accepted every data set is spent, without it none.
func TestR35_RestorationEntry(t *testing.T) {
	number := sha256.Sum256([]byte("this restoration"))
	home, root := hex.EncodeToString(number[:]), strings.Repeat("cd", 32)
	for _, whole := range []bool{true, false} {
		w := city(t)
		w.submit(w.ask("alpha", "before", counted("population")), entry.KindReserved)
		confirmed := func(signer string, change func(r *policies.Recovery)) *entry.Entry {
			r := policies.Recovery{Origin: w.s.Genesis().Origin, Home: home, Size: w.s.Size(), Root: root, Whole: whole}
			change(&r)
			text, err := policies.SignRecovery(r, signer, keyOf(signer))
			if err != nil {
				t.Fatal(err)
			}
			deflated, err := Deflate(text)
			if err != nil {
				t.Fatal(err)
			}
			e := w.next(entry.KindRestored, "gateway")
			e.Restored = &entry.Restored{Home: home, Size: w.s.Size(), Root: root, Confirmation: deflated}
			return e
		}
		same := func(*policies.Recovery) {}
		for name, e := range map[string]*entry.Entry{
			"a department's":         confirmed("health", same),
			"a stranger's":           confirmed("stranger", same),
			"of another ledger":      confirmed("data_bureau", func(r *policies.Recovery) { r.Origin = "elsewhere" }),
			"of another restoration": confirmed("data_bureau", func(r *policies.Recovery) { r.Home = root }),
			"of another size":        confirmed("data_bureau", func(r *policies.Recovery) { r.Size-- }),
			"of another root":        confirmed("data_bureau", func(r *policies.Recovery) { r.Root = home }),
		} {
			if w.try(e) == nil {
				t.Errorf("a confirmation that is %s is taken", name)
			}
		}
		byOther := confirmed("data_bureau", same)
		byOther.Actor = "alpha"
		if w.try(byOther) == nil {
			t.Error("an operator writes a restoration")
		}
		good := confirmed("data_bureau", same)
		w.must(good)
		again := *good
		again.Seq = w.s.Size()
		if w.try(&again) == nil {
			t.Error("a confirmation is used twice")
		}
		if !w.s.Restoration(home) || w.s.Restoration(root) {
			t.Error("restorations are mixed up")
		}
		d := w.s.Decide(w.ask("alpha", "after", counted("social_insurance")))
		if spent := d.Refused != nil && d.Refused.Reasons[0].Code == "BUDGET_UNKNOWN"; spent == whole {
			t.Errorf("whole %v: %+v", whole, d.Refused)
		}
	}
}
