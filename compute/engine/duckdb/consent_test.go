package duckdb

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/compute/internal/reference"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/render"
)

// subjectText is the commitment of a unit, the same in every data set.
func subjectText(unit string) string {
	return fmt.Sprintf("'%032x'::UUID", "subject of "+unit[:min(len(unit), 5)])
}

// askConsent makes private data sets need consents, which some units gave.
func (w *world) askConsent(r *rand.Rand) {
	w.agreed = map[string][]string{}
	for i, s := range w.schemas {
		if s.Public || r.IntN(4) == 0 {
			continue
		}
		w.schemas[i].Consent = true
		for _, row := range w.data[s.Dataset] {
			if subject := row.Unit; r.IntN(2) == 0 && !slices.Contains(w.agreed[s.Dataset], subject) {
				w.agreed[s.Dataset] = append(w.agreed[s.Dataset], subject)
			}
		}
	}
}

// consentRows puts the list of data set id, which is number i of a plan, in its place.
func (w *world) consentRows(i int, id string) []string {
	name := "g" + strconv.Itoa(i) + ".main.t"
	out := []string{"DELETE FROM " + name}
	for _, unit := range w.agreed[id] {
		out = append(out, "INSERT INTO "+name+" VALUES ("+subjectText(unit)+")")
	}
	return out
}

// restricted is the data with the rows of who did not consent taken away beforehand.
func (w *world) restricted() reference.Data {
	out := reference.Data{}
	for _, s := range w.schemas {
		for _, row := range w.data[s.Dataset] {
			if !s.Consent || slices.Contains(w.agreed[s.Dataset], row.Unit) {
				out[s.Dataset] = append(out[s.Dataset], row)
			}
		}
	}
	return out
}

// TestR28_ConsentIsAsIfTheOthersWereNotThere: random plans of every shape over data
// sets that need consents pass the gate and give exactly the partials of the same data
// without the rows of who did not consent.
func TestR28_ConsentIsAsIfTheOthersWereNotThere(t *testing.T) {
	b := newBench(t)
	r := rand.New(rand.NewPCG(28, 1))
	var w *world
	seen, differs := map[string]int{}, 0
	n := rounds(200)
	for i := range n {
		if i%10 == 0 {
			w = newWorld(r)
			w.askConsent(r)
		}
		p := w.randomPlan(r)
		if p.Consents == nil {
			continue
		}
		schemas, err := p.Core.SchemasOf(w.schemas)
		if err != nil {
			t.Fatal(err)
		}
		text, err := render.SQL(p, schemas)
		if err != nil {
			t.Fatalf("%d: %v\n%s", i, err, planText(p))
		}
		if ran, err := b.gate(p, schemas, text); err != nil || !ran {
			t.Fatalf("%d: %v\n%s\n%s", i, err, text, planText(p))
		}
		b.load(w, p)
		got, err := b.run(p, text)
		if err != nil {
			t.Fatalf("%d: %v\n%s", i, err, text)
		}
		if want := summary(reference.Partials(p, w.restricted())); summary(got) != want {
			t.Fatalf("%d: %s\n got %s\nwant %s\n%s", i, text, summary(got), want, planText(p))
		}
		if summary(got) != summary(reference.Partials(p, w.data)) {
			differs++
		}
		seen["SEMI JOIN"] += strings.Count(text, "SEMI JOIN")
		for _, word := range []string{"UNION ALL", "GROUP BY p._unit", "LEFT JOIN", "AS w ON", "FILTER", "HAVING", "t0._unit = t1._unit"} {
			if strings.Contains(text, word) {
				seen[word]++
			}
		}
	}
	if len(seen) < 8 || seen["SEMI JOIN"] < n || differs < n/8 {
		t.Errorf("the cases are too poor: %d depend on consents, constructs %v", differs, seen)
	}
}

// A statement without the restriction, or with a weaker one, passes no gate; nor does
// a plan that does not ask for what the catalogue does.
func TestR28_TheGateWantsTheConsents(t *testing.T) {
	b := newBench(t)
	schemas := []algebra.Schema{{Dataset: "visits", Unit: "id", Consent: true, Columns: []algebra.SchemaColumn{{Name: "n", Type: typeInt}}}}
	p := &protect.Plan{Mode: protect.ModeDP, MaxRows: 3, Ranks: []int64{3}, MaxCells: 10, Consents: []bool{true},
		Core:     algebra.Core{Tables: []algebra.Table{{Dataset: "visits"}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}}},
		Measures: []protect.Measure{{Kind: protect.MeasureRows}}}
	text, err := render.SQL(p, schemas)
	if err != nil {
		t.Fatal(err)
	}
	if ran, err := b.gate(p, schemas, text); !ran || err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	create, err := schemaTables(schemas)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.s.exec("CREATE TABLE d0.main.t " + create[0]); err != nil {
		t.Fatal(err)
	}
	const list = `(SELECT c._unit, c._rn, c."n" FROM d0.main.t AS c SEMI JOIN g0.main.t AS g ON c._consent = g._consent)`
	if !strings.Contains(text, list) {
		t.Fatal(text)
	}
	for name, other := range map[string]string{
		"the whole table":        `d0.main.t`,
		"a subquery of it":       `(SELECT c._unit, c._rn, c."n" FROM d0.main.t AS c)`,
		"who did not consent":    strings.Replace(list, "SEMI", "ANTI", 1),
		"an outer join":          strings.Replace(list, "SEMI", "LEFT", 1),
		"an inner join":          strings.Replace(list, "SEMI", "INNER", 1),
		"with itself":            strings.Replace(list, "g0.", "d0.", 1),
		"another condition":      strings.Replace(list, "c._consent = g._consent", "c._consent <> g._consent", 1),
		"no condition":           strings.Replace(list, "c._consent = g._consent", "c._consent = c._consent", 1),
		"one more condition":     strings.Replace(list, "= g._consent", "= g._consent OR c._rn = 1", 1),
		"a wrong column's value": strings.Replace(list, `c."n"`, `c._rn AS "n"`, 1),
		"one subject left out":   strings.Replace(list, ")", " WHERE c._unit <> 7)", 1),
	} {
		changed := strings.Replace(text, list, other, 1)
		if _, err := b.run(p, changed); changed == text || err != nil {
			t.Errorf("%s: the engine itself would not run it (%v): %s", name, err, changed)
		}
		if _, err := b.gate(p, schemas, changed); err == nil {
			t.Errorf("%s passed the gate: %s", name, changed)
		}
	}
	bare := *p
	bare.Consents = nil
	if _, err := render.SQL(&bare, schemas); err == nil {
		t.Error("a plan that asks for no consents was rendered")
	}
	exact := *p
	exact.Mode, exact.Ranks = protect.ModeExact, []int64{0}
	if _, err := render.SQL(&exact, schemas); err == nil {
		t.Error("consents were rendered for exact mode")
	}
}

var consentSpec = ingest.Spec{Dataset: "visits", UnitColumn: "id", UnitKind: "person", Consent: true,
	Columns: []ingest.Column{{Name: "id", Type: engineText}, {Name: "n", Type: typeInt, Bounds: &ingest.Range{Lo: 0, Hi: 1 << 30}}}}

func consentKeys() ingest.Keys {
	k := testKeys
	k.Consent = bytes.Repeat([]byte("c"), 32)
	return k
}

func subjectsOf(ids ...string) engine.Subjects {
	out := engine.Subjects{}
	for _, id := range ids {
		sum := ingest.CommitSubject(consentKeys().Consent, "person", id)
		out = append(out, [engine.SubjectBytes]byte(sum[:engine.SubjectBytes]))
	}
	return out
}

// takeConsent ingests rows under the specification and returns its snapshot.
func takeConsent(t testing.TB, spec ingest.Spec, raw string) *os.File {
	t.Helper()
	s := store(t)
	m, err := engine.IngestVia(context.Background(), pool(t), s, strings.NewReader(raw), engine.IngestOptions{
		Format: ingest.CSV, Spec: spec, Keys: consentKeys(), Created: time.Unix(1700000000, 0), Limits: testLimits,
	})
	if err != nil {
		t.Fatal(err)
	}
	return snapshot(t, s, m.Snapshot)
}

func visitsPlan(t testing.TB, consent bool) (*protect.Plan, string) {
	t.Helper()
	schemas := []algebra.Schema{{Dataset: "visits", Unit: "id", Consent: consent, Columns: []algebra.SchemaColumn{{Name: "n", Type: typeInt}}}}
	col := algebra.Col{Name: "n", Type: typeInt}
	p := &protect.Plan{Mode: protect.ModeDP, MaxRows: 3, Ranks: []int64{3}, MaxCells: 10,
		Core:     algebra.Core{Tables: []algebra.Table{{Dataset: "visits"}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Sum, Arg: &col}}},
		Measures: []protect.Measure{{Kind: protect.MeasureRows}, {Kind: protect.MeasureSum, Col: &col}}}
	if consent {
		p.Consents = []bool{true}
	}
	text, err := render.SQL(p, schemas)
	if err != nil {
		t.Fatal(err)
	}
	return p, text
}

// TestR28_IngestedColumnMeetsTheList goes through real workers: the hidden column that
// ingest writes holds the commitments that consents are recorded by. The control is the
// same file without the need of consents: the withdrawn subject's value is in it.
func TestR28_IngestedColumnMeetsTheList(t *testing.T) {
	const raw = "id,n\nA1,1\n a1 ,10\nB2,100\nC3,1000\n"
	f := takeConsent(t, consentSpec, raw)
	p, text := visitsPlan(t, true)
	r := &engine.Runner{Pool: pool(t)}
	ask := func(who engine.Subjects) string {
		t.Helper()
		got, err := r.ExecuteConsented(context.Background(), text, p, []*os.File{f}, []engine.Subjects{who}, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(got.Cells[0].M)
	}
	for want, who := range map[string][]string{"[4 1111]": {"A1", "B2", "C3", "D4"}, "[2 11]": {"A1"}, "[3 1011]": {"A1", "C3"}, "[0 0]": {}} {
		if got := ask(subjectsOf(who...)); got != want {
			t.Errorf("%v: %s, want %s", who, got, want)
		}
	}
	if _, err := r.Execute(context.Background(), text, p, []*os.File{f}, testLimits); err == nil {
		t.Error("a plan that needs consents ran without a list")
	}
	open, openText := visitsPlan(t, false)
	if _, err := r.ExecuteConsented(context.Background(), openText, open, []*os.File{f}, []engine.Subjects{subjectsOf("A1")}, testLimits); err == nil {
		t.Error("a list was given to a plan that asks for none")
	}
	bare := consentSpec
	bare.Consent = false
	got, err := r.Execute(context.Background(), openText, open, []*os.File{takeConsent(t, bare, raw)}, testLimits)
	if err != nil || fmt.Sprint(got.Cells[0].M) != "[4 1111]" {
		t.Errorf("the control: %+v, %v", got, err)
	}
	// The statement that needs the column fails over a snapshot that has none.
	if _, err := r.ExecuteConsented(context.Background(), text, p, []*os.File{takeConsent(t, bare, raw)}, []engine.Subjects{subjectsOf("A1")}, testLimits); err == nil {
		t.Error("a snapshot without commitments answered")
	}
}

// BenchmarkConsent compares a query over 200,000 units, half of whom consent, with
// the same data that needs no consents.
func BenchmarkConsent(b *testing.B) {
	const units, rows = 200_000, 5
	var raw strings.Builder
	raw.WriteString("id,n\n")
	var who []string
	for i := range units {
		id := "U" + hex.EncodeToString([]byte{byte(i >> 16), byte(i >> 8), byte(i)})
		id = strings.ToUpper(id)
		for k := range rows {
			fmt.Fprintf(&raw, "%s,%d\n", id, k)
		}
		if i%2 == 0 {
			who = append(who, id)
		}
	}
	list := subjectsOf(who...)
	r := &engine.Runner{Pool: pool(b)}
	limits := testLimits
	limits.Threads = 2
	for _, consent := range []bool{false, true} {
		spec := consentSpec
		spec.Consent = consent
		f := takeConsent(b, spec, raw.String())
		size, _ := f.Stat()
		p, text := visitsPlan(b, consent)
		b.Run(fmt.Sprintf("consent=%v", consent), func(b *testing.B) {
			before := childCPU(b)
			for b.Loop() {
				b.StopTimer()
				time.Sleep(150 * time.Millisecond) // until the worker taken last is replaced
				b.StartTimer()
				var err error
				if consent {
					_, err = r.ExecuteConsented(context.Background(), text, p, []*os.File{f}, []engine.Subjects{list}, limits)
				} else {
					_, err = r.Execute(context.Background(), text, p, []*os.File{f}, limits)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((childCPU(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(size.Size())/(1<<20), "MiB")
		})
	}
}
