package state

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/internal/leak"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// busy is a city in which a bit of everything happened.
func busy(t testing.TB) *world {
	w := city(t)
	a := w.submit(w.ask("alpha", "q1", counted("population")), entry.KindReserved)
	b := w.submit(w.ask("beta", "q2", counted("enterprises")), entry.KindReserved)
	w.now = w.now.Add(time.Second)
	w.must(w.released(a))
	w.must(w.failed(b))
	w.submit(w.ask("alpha", "q1", counted("population")), entry.KindRepeated)
	w.submit(w.ask("beta", "q3", counted("population")), entry.KindRefused)
	no := w.ask("alpha", "q4", nil)
	no.Analysis = []policies.Reason{{Code: "STAR", ZH: "不", EN: "no", Line: 1, Column: 8}}
	w.submit(no, entry.KindRefused)
	w.submit(w.ask("alpha", "q5", counted("social_insurance")), entry.KindReserved)
	beat := w.next(entry.KindHeartbeat, "gateway")
	beat.Heartbeat = &entry.Beat{Released: 1}
	w.must(beat)
	w.must(w.snapshotOf("population"))
	w.must(w.next(entry.KindStopped, "gateway"))
	return w
}

func TestR30_ReplayGivesTheSameState(t *testing.T) {
	w := busy(t)
	want := picture(t, w.s)
	again := New()
	for i, e := range w.entries {
		if err := again.ApplyEntry(uint64(i), copied(t, e)); err != nil {
			t.Fatal(err)
		}
	}
	if got := picture(t, again); got != want {
		t.Errorf("replay differs:\n%s\n%s", got, want)
	}
	phases := map[Phase]int{}
	for _, id := range again.Jobs() {
		j, _ := again.Job(id)
		phases[j.Phase]++
	}
	if want := (map[Phase]int{PhaseReleased: 1, PhaseFailed: 1, PhaseRepeated: 1, PhaseRefused: 2, PhaseReserved: 1}); !reflect.DeepEqual(phases, want) {
		t.Errorf("%v", phases)
	}
}

// Same prefix, same ask: same decision, on a replayed state and for an ask that
// went through JSON as well.
func TestR30_DecisionsAreDeterministic(t *testing.T) {
	w := busy(t)
	again := New()
	for i, e := range w.entries {
		if err := again.ApplyEntry(uint64(i), copied(t, e)); err != nil {
			t.Fatal(err)
		}
	}
	fee := algebra.Col{Name: "fee_yuan", Type: algebra.Type{Kind: algebra.Decimal, Scale: 2}}
	detail := algebra.Col{Name: "diagnosis_detail", Type: algebra.Type{Kind: algebra.Text}}
	visits := &algebra.Core{Tables: []algebra.Table{{Dataset: "visits"}}, Keys: []algebra.Col{detail}, Aggs: []algebra.Agg{{Func: algebra.Avg, Arg: &fee}, {Func: algebra.CountUnits}}}
	health := w.ask("alpha", "v", visits)
	health.Request.Purpose = "public_health"
	for i, a := range []Ask{
		w.ask("alpha", "n1", counted("population")), w.ask("beta", "n2", counted("enterprises")), w.ask("alpha", "q1", counted("population")),
		w.ask("alpha", "n3", counted("property")), w.ask("gamma", "n4", counted("population")), w.ask("alpha", "n5", nil), w.ask("alpha", "n6", visits), health,
	} {
		raw, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Ask
		if err := json.Unmarshal(raw, &back); err != nil {
			t.Fatal(err)
		}
		before := picture(t, w.s)
		first, second, third := w.s.Decide(a), w.s.Decide(a), again.Decide(back)
		if !reflect.DeepEqual(first, second) {
			t.Errorf("ask %d: two looks at one state decide differently", i)
		}
		x, _ := json.Marshal(first)
		if y, _ := json.Marshal(third); string(x) != string(y) {
			t.Errorf("ask %d:\n%s\n%s", i, x, y)
		}
		if picture(t, w.s) != before {
			t.Errorf("ask %d: deciding changed the state", i)
		}
	}
	if d := w.s.Decide(health); d.Reserved == nil || d.Plan.Selection == nil {
		t.Errorf("%+v", d.Refused)
	}
}

// Every entry that says something else than the rules decide is refused, and
// leaves the state as it was. Each case begins with the honest entry.
func TestR05_TamperedEntriesAreRefused(t *testing.T) {
	type tamper = func(w *world, e *entry.Entry)
	honest := map[string]func(w *world) *entry.Entry{
		"reserved": func(w *world) *entry.Entry { return w.entryOf(w.ask("alpha", "new", counted("population"))) },
		"repeated": func(w *world) *entry.Entry { return w.entryOf(w.ask("alpha", "q5", counted("social_insurance"))) },
		"refused":  func(w *world) *entry.Entry { return w.entryOf(w.ask("beta", "bad", counted("population"))) },
		"released": func(w *world) *entry.Entry { return w.released(jobOf(w, "q1b")) },
		"failed":   func(w *world) *entry.Entry { return w.failed(jobOf(w, "q1b")) },
		"snapshot": func(w *world) *entry.Entry { return w.snapshotOf("population") },
		"policy": func(w *world) *entry.Entry {
			e := w.next(entry.KindPolicy, "hrss")
			e.Policy = policyOf(w.t, load(w.t, "city/hrss.yaml")+"# again\n", "hrss")
			return e
		},
		"heartbeat": func(w *world) *entry.Entry {
			e := w.next(entry.KindHeartbeat, "gateway")
			e.Heartbeat = &entry.Beat{Released: w.s.Released()}
			return e
		},
		"stopped": func(w *world) *entry.Entry { return w.next(entry.KindStopped, "gateway") },
	}
	for _, c := range []struct {
		name, of string
		do       tamper
	}{
		{"cheaper", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Price-- }},
		{"dearer", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Price++ }},
		{"free", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Price = 0 }},
		{"asked price changed", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Request.Price = 1_000_000 }},
		{"less charged", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Charges[1].Amount = 1 }},
		{"negative charge", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Charges[3].Amount = -5 }},
		{"raised limit", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Charges[2].Limit *= 2 }},
		{"operator's scope dropped", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Charges = slices.Delete(e.Reserved.Charges, 1, 2) }},
		{"lifetime dropped", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Charges = e.Reserved.Charges[:3] }},
		{"no charges", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Charges = nil }},
		{"charged to another", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Charges[1].Scope.Operator = "beta" }},
		{"charged to last year", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Charges[1].Scope.Year = 2025 }},
		{"another data set charged", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Charges[3].Scope.Dataset = "visits" }},
		{"older snapshot", "reserved", func(w *world, e *entry.Entry) { e.Reserved.Snapshots[0] = firstSnapshot(w, "population") }},
		{"another's snapshot", "reserved", func(w *world, e *entry.Entry) { e.Reserved.Snapshots[0] = firstSnapshot(w, "visits") }},
		{"no snapshot", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Snapshots = nil }},
		{"exact instead of noise", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Mode = "exact" }},
		{"another data set asked", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Request.Core.Tables[0].Dataset = "social_insurance" }},
		{"no core", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Request.Core = nil }},
		{"sum beside the count", "reserved", func(_ *world, e *entry.Entry) {
			household := algebra.Col{Name: "household_type", Type: algebra.Type{Kind: algebra.Text}}
			e.Reserved.Request.Core.Aggs = append(e.Reserved.Request.Core.Aggs, algebra.Agg{Func: algebra.CountRows, Filter: &algebra.Pred{Op: algebra.OpIsNull, Col: &household}})
		}},
		{"column of another type", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Request.Core.Keys[0].Type.Kind = algebra.Int }},
		{"expired licence", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Request.Licence = "alpha-2024" }},
		{"another's licence", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Request.Licence = "beta-2026" }},
		{"purpose not granted", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Request.Purpose = "inclusive_finance" }},
		{"another operator", "reserved", func(_ *world, e *entry.Entry) { e.Actor = "beta" }},
		{"another operator, its own id", "reserved", func(_ *world, e *entry.Entry) {
			e.Actor = "beta"
			e.Reserved.Request.Job = JobID("beta", e.Reserved.Request.Request)
		}},
		{"job id not derived", "reserved", func(_ *world, e *entry.Entry) { e.Reserved.Request.Job = "0123456789abcdef0123" }},
		{"request id reused", "reserved", func(w *world, e *entry.Entry) {
			j, _ := w.s.Job(w.s.Jobs()[0])
			e.Reserved.Request.Request, e.Reserved.Request.Job = j.Request.Request, j.Request.Job
		}},
		{"of a repeat", "reserved", func(w *world, e *entry.Entry) {
			j, _ := w.s.Job(jobOf(w, "q5"))
			e.Reserved.Request.Query = j.Request.Query
			e.Reserved.Request.Core = j.Request.Core
		}},
		{"after the licence ended", "reserved", func(w *world, e *entry.Entry) { e.At = time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() }},
		{"in another year", "reserved", func(w *world, e *entry.Entry) { e.At = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() }},
		{"clock set back", "reserved", func(_ *world, e *entry.Entry) { e.At = start.UnixMilli() }},
		{"skips a number", "reserved", func(_ *world, e *entry.Entry) { e.Seq++ }},
		{"takes a number again", "reserved", func(_ *world, e *entry.Entry) { e.Seq-- }},

		{"of another query", "repeated", func(w *world, e *entry.Entry) { e.Repeated.Of = jobOf(w, "q1") }},
		{"of a job that did not release", "repeated", func(w *world, e *entry.Entry) { e.Repeated.Of = jobOf(w, "q1b") }},
		{"of nothing", "repeated", func(_ *world, e *entry.Entry) { e.Repeated.Of = "" }},
		{"for a new query", "repeated", func(w *world, e *entry.Entry) { e.Repeated.Request.Query, _ = entry.Commit(nil, nil) }},
		{"for a better price", "repeated", func(w *world, e *entry.Entry) { e.Repeated.Request.Price = 4_000_000 }},
		{"without a licence", "repeated", func(_ *world, e *entry.Entry) { e.Repeated.Request.Licence = "none" }},

		{"without its reasons", "refused", func(_ *world, e *entry.Entry) { e.Refused.Reasons = nil }},
		{"with one reason less", "refused", func(_ *world, e *entry.Entry) { e.Refused.Reasons = e.Refused.Reasons[1:] }},
		{"with softer words", "refused", func(_ *world, e *entry.Entry) { e.Refused.Reasons[0].ZH = "无" }},
		{"blaming another", "refused", func(_ *world, e *entry.Entry) { e.Refused.Reasons[0].SetBy = "health" }},
		{"although allowed", "refused", func(w *world, e *entry.Entry) {
			a := w.ask("alpha", "new", counted("population"))
			e.Actor, e.Refused.Request = "alpha", a.Request
		}},

		{"job unknown", "released", func(_ *world, e *entry.Entry) { e.Released.Job = "ffff" }},
		{"released before", "released", func(w *world, e *entry.Entry) { e.Released.Job = jobOf(w, "q1") }},
		{"after it failed", "released", func(w *world, e *entry.Entry) { e.Released.Job = jobOf(w, "q2") }},
		{"of a refused job", "released", func(w *world, e *entry.Entry) { e.Released.Job = jobOf(w, "q3") }},
		{"of a repeated job", "released", func(w *world, e *entry.Entry) { e.Released.Job = jobOf(w, "q1again") }},
		{"after the licence expired", "released", func(_ *world, e *entry.Entry) { e.At = time.Date(2030, 12, 31, 15, 59, 59, 0, time.UTC).UnixMilli() }},
		{"by an operator", "released", func(_ *world, e *entry.Entry) { e.Actor = "alpha" }},
		{"digest empty", "released", func(_ *world, e *entry.Entry) { e.Released.Digest = "" }},
		{"digest too short", "released", func(_ *world, e *entry.Entry) { e.Released.Digest = e.Released.Digest[2:] }},
		{"digest no hash", "released", func(_ *world, e *entry.Entry) { e.Released.Digest = strings.Repeat("z", 64) }},
		{"clock set back", "released", func(_ *world, e *entry.Entry) { e.At-- }},

		{"job unknown", "failed", func(_ *world, e *entry.Entry) { e.Failed.Job = "ffff" }},
		{"of a released job", "failed", func(w *world, e *entry.Entry) { e.Failed.Job = jobOf(w, "q1") }},
		{"failed before", "failed", func(w *world, e *entry.Entry) { e.Failed.Job = jobOf(w, "q2") }},
		{"by an operator", "failed", func(_ *world, e *entry.Entry) { e.Actor = "alpha" }},

		{"by another department", "snapshot", func(_ *world, e *entry.Entry) { e.Actor = "health" }},
		{"by the regulator", "snapshot", func(_ *world, e *entry.Entry) { e.Actor = "data_bureau" }},
		{"by an operator", "snapshot", func(_ *world, e *entry.Entry) { e.Actor = "alpha" }},
		{"by the gateway", "snapshot", func(_ *world, e *entry.Entry) { e.Actor = "gateway" }},
		{"under a stale specification", "snapshot", func(w *world, e *entry.Entry) {
			d, _ := w.s.Book().Dataset("visits")
			e.Snapshot.Spec = d.SpecDigest()
		}},
		{"under none", "snapshot", func(_ *world, e *entry.Entry) { e.Snapshot.Spec = "" }},
		{"of an unknown data set", "snapshot", func(_ *world, e *entry.Entry) { e.Snapshot.Dataset = "ghosts" }},

		{"signed by another", "policy", func(w *world, e *entry.Entry) {
			e.Policy = policyOf(w.t, load(w.t, "city/hrss.yaml")+"# x\n", "health")
		}},
		{"signature of another text", "policy", func(w *world, e *entry.Entry) {
			env, err := Inflate(e.Policy.Envelope)
			if err != nil {
				w.t.Fatal(err)
			}
			e.Policy.Envelope = deflate(w.t, strings.Replace(string(env), `"sig":"`, `"sig":"AAAA`, 1))
		}},
		{"other kinds named", "policy", func(_ *world, e *entry.Entry) { e.Policy.Kinds[1] = policies.KindMasking }},
		{"kinds not named", "policy", func(_ *world, e *entry.Entry) { e.Policy.Kinds = nil }},
		{"applied before", "policy", func(w *world, e *entry.Entry) { e.Policy = policyOf(w.t, load(w.t, "city/hrss.yaml"), "hrss") }},
		{"by an operator", "policy", func(_ *world, e *entry.Entry) { e.Actor = "alpha" }},
		{"by nobody", "policy", func(_ *world, e *entry.Entry) { e.Actor = "gateway" }},
		{"not compressed", "policy", func(_ *world, e *entry.Entry) { e.Policy.Envelope = []byte("{}") }},
		{"cut off", "policy", func(_ *world, e *entry.Entry) { e.Policy.Envelope = e.Policy.Envelope[:40] }},
		{"something hidden behind", "policy", func(_ *world, e *entry.Entry) { e.Policy.Envelope = append(e.Policy.Envelope, "110101199003078515"...) }},
		{"unfolding into a gigabyte", "policy", func(w *world, e *entry.Entry) { e.Policy.Envelope = deflate(w.t, strings.Repeat(" ", 9<<20)) }},

		{"counting less", "heartbeat", func(_ *world, e *entry.Entry) { e.Heartbeat.Released-- }},
		{"counting more", "heartbeat", func(_ *world, e *entry.Entry) { e.Heartbeat.Released++ }},
		{"by an operator", "heartbeat", func(_ *world, e *entry.Entry) { e.Actor = "alpha" }},
		{"by an operator", "stopped", func(_ *world, e *entry.Entry) { e.Actor = "alpha" }},
		{"a second genesis", "stopped", func(w *world, e *entry.Entry) { e.Kind, e.Genesis = entry.KindGenesis, w.s.Genesis() }},
		{"kind unknown", "stopped", func(_ *world, e *entry.Entry) { e.Kind = "job.cancelled" }},
	} {
		t.Run(c.of+"/"+c.name, func(t *testing.T) {
			w := ready(t)
			e := honest[c.of](w)
			if string(e.Kind[strings.LastIndex(string(e.Kind), ".")+1:]) != c.of && c.of != "snapshot" && c.of != "policy" {
				t.Fatalf("the honest entry is %s", e.Kind)
			}
			bad := copied(t, e)
			c.do(w, bad)
			before := picture(t, w.s)
			// The entry goes in as it is: the rules refuse it, not its encoding.
			if err := w.s.ApplyEntry(w.s.Size(), bad); err == nil {
				t.Fatal("accepted")
			}
			if picture(t, w.s) != before {
				t.Error("a refused entry changed the state")
			}
			if err := w.try(e); err != nil {
				t.Errorf("the honest entry: %v", err)
			}
		})
	}
}

var (
	readyOnce *world
	readyJobs map[string]string
)

// ready is a city with one job in every phase, built once.
func ready(t testing.TB) *world {
	t.Helper()
	if readyOnce != nil {
		return readyOnce.forked(t)
	}
	w := city(t)
	old := w.submit(w.ask("alpha", "q1", counted("population")), entry.KindReserved)
	two := w.submit(w.ask("alpha", "q2", counted("population")), entry.KindReserved)
	five := w.submit(w.ask("alpha", "q5", counted("social_insurance")), entry.KindReserved)
	w.must(w.released(old))
	w.must(w.released(five))
	again := w.submit(w.ask("alpha", "q1", counted("population")), entry.KindRepeated)
	w.must(w.failed(two))
	three := w.submit(w.ask("beta", "q3", counted("population")), entry.KindRefused)
	open := w.submit(w.ask("alpha", "q1b", counted("population")), entry.KindReserved)
	w.now = w.now.Add(time.Minute)
	w.must(w.snapshotOf("population"))
	readyJobs = map[string]string{"q1": old, "q2": two, "q5": five, "q1again": again, "q3": three, "q1b": open}
	readyOnce = w
	return w.forked(t)
}

func jobOf(w *world, name string) string {
	id, ok := readyJobs[name]
	if !ok {
		w.t.Fatalf("no job %q", name)
	}
	return id
}

func firstSnapshot(w *world, dataset string) string {
	for _, e := range w.entries {
		if e.Snapshot != nil && e.Snapshot.Dataset == dataset {
			return e.Snapshot.Snapshot
		}
	}
	w.t.Fatalf("no snapshot of %q", dataset)
	return ""
}

func deflate(t testing.TB, text string) []byte {
	t.Helper()
	out, err := Deflate([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGenesisComesFirst(t *testing.T) {
	full := city(t)
	first := full.entries[0]
	s := New()
	before := picture(t, s)
	for name, change := range map[string]func(*entry.Entry){
		"no regulator's key":  func(e *entry.Entry) { e.Genesis.RegulatorKey = "" },
		"no receipt key":      func(e *entry.Entry) { e.Genesis.ReceiptKey = "AAAA" },
		"by an operator":      func(e *entry.Entry) { e.Actor = "alpha" },
		"not number 0":        func(e *entry.Entry) { e.Seq = 1 },
		"another kind before": func(e *entry.Entry) { e.Kind, e.Genesis = entry.KindStopped, nil },
	} {
		e := copied(t, first)
		change(e)
		if err := s.ApplyEntry(0, e); err == nil || picture(t, s) != before {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.ApplyEntry(1, copied(t, first)); err == nil {
		t.Error("genesis stands at 1")
	}
	if err := s.ApplyEntry(0, copied(t, first)); err != nil {
		t.Error(err)
	}
	if err := s.Apply(1, []byte("{}")); err == nil {
		t.Error("no entry at all is applied")
	}
}

func TestR06_ReleaseNeedsTheLicenceToTheEnd(t *testing.T) {
	w := ready(t)
	job := jobOf(w, "q1b")
	w.policy("kind: Revocation\nlicence: alpha-2026\nby: public_security\nreason: {zh: 由}\n", "public_security")
	if err := w.try(w.released(job)); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("released after revocation: %v", err)
	}
	if got := w.codes(w.ask("alpha", "late", counted("population"))); !slices.Equal(got, []string{"LICENCE_REVOKED"}) {
		t.Errorf("%v", got)
	}
	if got := w.codes(w.ask("alpha", "q5", counted("social_insurance"))); !slices.Equal(got, []string{"LICENCE_REVOKED"}) {
		t.Errorf("a repeat needs no licence: %v", got)
	}
	w.must(w.failed(job))
}

func TestSnapshotGoesStaleWithItsSpecification(t *testing.T) {
	w := ready(t)
	w.policy(strings.Replace(load(t, "city/public_security.yaml"), "name: {op: name}", "name: {op: drop}", 1), "public_security")
	if got := w.codes(w.ask("alpha", "x", counted("population"))); !slices.Equal(got, []string{"SNAPSHOT_STALE"}) {
		t.Fatalf("%v", got)
	}
	w.must(w.snapshotOf("population"))
	w.submit(w.ask("alpha", "x", counted("population")), entry.KindReserved)
	// A title corrected makes nothing stale.
	w.policy(strings.Replace(load(t, "city/hrss.yaml"), "社会保险缴费", "社会保险缴费明细", 1), "hrss")
	w.submit(w.ask("alpha", "y", counted("social_insurance")), entry.KindReserved)
}

// An exact answer given once is not handed out after its department asked for
// noise; and a coarse answer does not stand for a finer one.
func TestRepeatNeedsTheSameWayOfRelease(t *testing.T) {
	w := city(t)
	w.must(w.released(w.submit(w.ask("alpha", "q", counted("population")), entry.KindReserved)))
	finer := w.ask("alpha", "q", counted("population"))
	finer.Request.Price = 4_000_000
	w.submit(finer, entry.KindReserved)
	coarser := w.ask("alpha", "q", counted("population"))
	coarser.Request.Price = 1000
	w.submit(coarser, entry.KindRepeated)

	w.must(w.released(w.submit(w.ask("beta", "e", counted("enterprises")), entry.KindReserved)))
	w.submit(w.ask("beta", "e", counted("enterprises")), entry.KindRepeated)
	text := load(t, "city/market_regulation.yaml")
	text = text[strings.LastIndex(text, "kind: Disclosure"):]
	text = strings.Replace(strings.Replace(text, "mode: exact", "mode: dp", 1), "    exact: {k: 10, round: 5, bits_per_unit: \"1\"}\n", "", 1)
	w.policy(text, "market_regulation")
	if d := w.s.Decide(w.ask("beta", "e", counted("enterprises"))); d.Repeated != nil {
		t.Error("an exact answer is repeated although noise is asked for now")
	}
	w.must(w.released(w.submit(w.ask("beta", "n", counted("enterprises")), entry.KindReserved)))
	w.policy(strings.Replace(strings.Replace(text, "mode: dp", "mode: exact\n    exact: {k: 10, round: 5}", 1), "kind:", "# back\nkind:", 1), "market_regulation")
	if d := w.s.Decide(w.ask("beta", "n", counted("enterprises"))); d.Reserved == nil {
		t.Error("a noisy answer stands for an exact one")
	}
}

func spentOf(w *world, kind budget.ScopeKind, dataset, operator string, year int) budget.Nano {
	return w.s.Spent(budget.Scope{Kind: kind, Dataset: dataset, Operator: operator, Year: year})
}

// Attack 14 at the filter's door: the last nano-ρ is spent, not one more, and a
// failed job gives nothing back.
func TestR05_BudgetEndsAtTheLastNano(t *testing.T) {
	price := func() budget.Nano {
		w := city(t)
		return w.s.Decide(w.ask("alpha", "p", counted("population"))).Plan.Rho
	}()
	for _, c := range []struct {
		short budget.Nano
		fits  int
	}{{0, 3}, {1, 2}} {
		for _, scope := range []string{"operator_year", "dataset_year", "lifetime"} {
			w := city(t)
			limit := 3*price - c.short
			w.limits("public_security", "population", scope+": "+rho(limit))
			for i := range c.fits {
				job := w.submit(w.ask("alpha", fmt.Sprint("q", i), counted("population")), entry.KindReserved)
				w.must(w.failed(job)) // no refund
			}
			over := w.ask("alpha", "over", counted("population"))
			if got := w.codes(over); !slices.Equal(got, []string{"BUDGET_EXHAUSTED"}) {
				t.Errorf("%s, %d short: %v", scope, c.short, got)
			}
			// A reservation past the limit is refused even if it is written by hand.
			forged := w.next(entry.KindReserved, "alpha")
			forged.Reserved = &entry.Reserved{Request: over.Request, Mode: "dp", Snapshots: []string{firstSnapshot(w, "population")}, Price: price}
			_, limits, err := mustEntry(w, "population").Limits()
			if err != nil {
				t.Fatal(err)
			}
			forged.Reserved.Charges = budget.Charges("population", "alpha", 2026, price, limits)
			before := picture(t, w.s)
			if err := w.try(forged); err == nil || picture(t, w.s) != before {
				t.Errorf("%s: a reservation over the limit was accepted", scope)
			}
			if got, want := spentOf(w, budget.ScopeLifetime, "population", "", 0), price*budget.Nano(c.fits); got != want {
				t.Errorf("%s: spent %s, want %s", scope, got, want)
			}
			w.submit(over, entry.KindRefused)
		}
	}
}

func mustEntry(w *world, dataset string) policies.Entry {
	e, ok := w.s.Book().Dataset(dataset)
	if !ok {
		w.t.Fatalf("no data set %q", dataset)
	}
	return e
}

// The year turns at midnight in China. A new year opens new yearly accounts; the
// lifetime of unchanged rows goes on.
func TestR05_TheYearTurnsAtChineseMidnight(t *testing.T) {
	w := city(t)
	price := w.s.Decide(w.ask("alpha", "p", counted("population"))).Plan.Rho
	w.limits("public_security", "population", "operator_year: "+rho(2*price)+", dataset_year: "+rho(2*price)+", lifetime: "+rho(3*price))
	w.now = time.Date(2026, 12, 31, 15, 59, 59, 999e6, time.UTC)
	for i := range 2 {
		w.submit(w.ask("alpha", fmt.Sprint("a", i), counted("population")), entry.KindReserved)
	}
	if got := w.codes(w.ask("alpha", "a2", counted("population"))); !slices.Equal(got, []string{"BUDGET_EXHAUSTED"}) {
		t.Errorf("%v", got)
	}
	w.now = time.Date(2026, 12, 31, 16, 0, 0, 0, time.UTC)
	if Year(w.now) != 2027 || Year(w.now.Add(-time.Millisecond)) != 2026 {
		t.Error("the year does not turn at midnight, UTC+8")
	}
	w.submit(w.ask("alpha", "b0", counted("population")), entry.KindReserved)
	if got := spentOf(w, budget.ScopeOperatorYear, "population", "alpha", 2027); got != price {
		t.Errorf("2027: %s", got)
	}
	over := w.s.Decide(w.ask("alpha", "b1", counted("population")))
	if over.Refused == nil || !strings.Contains(over.Refused.Reasons[0].EN, "lifetime") {
		t.Errorf("the lifetime does not stop a new year: %+v", over.Refused)
	}
	// A clock set back cannot spend last year's budget: the ledger refuses it.
	back := w.ask("alpha", "b2", counted("population"))
	back.At = time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC)
	e := w.entryOf(back)
	e.At = back.At.UnixMilli()
	if err := w.try(e); err == nil {
		t.Error("an entry of last year follows one of this year")
	}
}

// Attack 6 in miniature: operators who share their answers share the data set's
// year as well.
func TestAttack06_R05ColludingOperatorsShareTheDataset(t *testing.T) {
	w := city(t)
	price := w.s.Decide(w.ask("alpha", "p", counted("social_insurance"))).Plan.Rho
	w.limits("hrss", "social_insurance", "operator_year: "+rho(3*price)+", dataset_year: "+rho(4*price))
	outcomes := map[string]int{}
	for i := range 4 {
		for _, op := range []string{"alpha", "beta"} {
			a := w.ask(op, fmt.Sprint(op, i), counted("social_insurance"))
			e := w.entryOf(a)
			w.must(e)
			if e.Kind == entry.KindReserved {
				outcomes[op]++
			} else if c := e.Refused.Reasons[0]; c.Code != "BUDGET_EXHAUSTED" || !strings.Contains(c.EN, "all operators") {
				t.Errorf("%s: %+v", op, c)
			}
		}
	}
	if outcomes["alpha"]+outcomes["beta"] != 4 || outcomes["alpha"] != 2 {
		t.Errorf("%v got through, the data set bears 4", outcomes)
	}
	// Positive control: with the shared scope wide open the same two get their own
	// three each.
	open := city(t)
	open.limits("hrss", "social_insurance", "operator_year: "+rho(3*price)+", dataset_year: "+rho(100*price))
	n := 0
	for i := range 4 {
		for _, op := range []string{"alpha", "beta"} {
			e := open.entryOf(open.ask(op, fmt.Sprint(op, i), counted("social_insurance")))
			open.must(e)
			if e.Kind == entry.KindReserved {
				n++
			}
		}
	}
	got := outcomes["alpha"] + outcomes["beta"]
	leak.Record(t, leak.Score{Attack: "06 two operators at the ledger's state", Figure: fmt.Sprintf("%d reserved", got), Bound: "4", Control: fmt.Sprintf("data set's cap wide open: %d", n), Pass: got == 4 && n == 6, Trials: 8})
}

// The asked price buys less noise and is bounded by the department; nobody asks
// for less protection than it allows.
func TestR16_TheAskedPriceIsBounded(t *testing.T) {
	w := city(t)
	for price, want := range map[budget.Nano]string{-1: "PRICE", 4_400_001: "PRICE", 1 << 60: "PRICE", 4_400_000: "", 1: ""} {
		a := w.ask("alpha", fmt.Sprint(price), counted("population"))
		a.Request.Price = price
		got := strings.Join(w.codes(a), ",")
		if (got == "") != (want == "") || !strings.HasPrefix(got, want) {
			t.Errorf("price %d: %q", price, got)
		}
		if d := w.s.Decide(a); d.Reserved != nil && d.Reserved.Price > price {
			t.Errorf("price %d: charged %d", price, d.Reserved.Price)
		}
	}
}

// A repeat is free for the operator that asked, and the answer of one operator
// serves another that holds a grant for the data set.
func TestR09_RepeatsAreFree(t *testing.T) {
	w := city(t)
	job := w.submit(w.ask("alpha", "same", counted("social_insurance")), entry.KindReserved)
	if got := w.entryOf(w.ask("alpha", "same", counted("social_insurance"))); got.Kind != entry.KindReserved {
		t.Errorf("an answer that is not released yet is repeated: %s", got.Kind)
	}
	w.must(w.released(job))
	spent := spentOf(w, budget.ScopeLifetime, "social_insurance", "", 0)
	for _, op := range []string{"alpha", "beta", "alpha"} {
		id := w.submit(w.ask(op, "same", counted("social_insurance")), entry.KindRepeated)
		if j, _ := w.s.Job(id); j.RepeatOf != job {
			t.Errorf("%+v", j)
		}
	}
	if got := spentOf(w, budget.ScopeLifetime, "social_insurance", "", 0); got != spent {
		t.Errorf("repeats cost %s", got-spent)
	}
	w.must(w.snapshotOf("social_insurance"))
	if got := w.entryOf(w.ask("alpha", "same", counted("social_insurance"))); got.Kind != entry.KindReserved {
		t.Errorf("new rows, old answer: %s", got.Kind)
	}
}
