package city

import (
	"bytes"
	"encoding/csv"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// entryOf is a table's catalogue entry as its department's bundle says.
func entryOf(t *testing.T, file, table string) policies.Entry {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testdata, "city", file+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	docs, err := policies.ParseBundle(text)
	if err != nil {
		t.Fatal(err)
	}
	e, err := policies.PreviewEntry(docs, table)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// batchOf reads a table of the city as a snapshot would hold it: rows with a fault set
// aside, values held to their bounds and lists, dates cut to what is stored.
func batchOf(t *testing.T, g *City, e policies.Entry, s twin.Schema) model.Batch {
	t.Helper()
	var file bytes.Buffer
	if err := g.Write(e.Dataset.ID, &file); err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(&file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	unit := slices.Index(all[0], e.Dataset.Unit.Column)
	b := model.Batch{Columns: make([]model.Column, len(s.Columns))}
	at, from := make([]int, len(s.Columns)), make([]policies.Column, len(s.Columns))
	for i, c := range s.Columns {
		at[i] = slices.Index(all[0], c.Column)
		from[i] = e.Dataset.Columns[slices.IndexFunc(e.Dataset.Columns, func(x policies.Column) bool { return x.Name == c.Column })]
	}
	for _, row := range all[1:] {
		id, ok := row[unit], true
		if e.Dataset.Unit.Kind == "person" {
			if id, ok = masking.NormaliseCitizenID(row[unit]); !ok || masking.CitizenID(id) != masking.OK {
				continue
			}
		}
		for _, c := range from {
			ok = ok && judge(c, row[slices.Index(all[0], c.Name)]) != bad
		}
		if !ok {
			continue
		}
		h := fnv.New64a()
		_, _ = io.WriteString(h, id)
		b.Units = append(b.Units, h.Sum64())
		for i, c := range s.Columns {
			v, to := row[at[i]], &b.Columns[i]
			missing := judge(from[i], v) == missing
			if c.Nullable {
				to.Null = append(to.Null, missing)
			}
			switch {
			case c.Type == algebra.Text && missing:
				to.Texts = append(to.Texts, "")
			case c.Type == algebra.Text && judge(from[i], v) == other:
				to.Texts = append(to.Texts, from[i].Other)
			case c.Type == algebra.Text:
				to.Texts = append(to.Texts, v)
			default:
				n, _ := minimal(from[i], v)
				switch day := time.Unix(n*86400, 0).UTC(); e.Masks[from[i].Name].Op {
				case masking.OpYear:
					n = int64(day.Year())
				case masking.OpMonth:
					n = time.Date(day.Year(), day.Month(), 1, 0, 0, 0, 0, time.UTC).Unix() / 86400
				}
				if c.Kind == model.KindNumber {
					n = min(max(n, c.Bounds[0]), c.Bounds[1])
				}
				to.Ints = append(to.Ints, n)
			}
		}
	}
	return b
}

func encode(t *testing.T, s twin.Schema, b model.Batch) twin.Joined {
	t.Helper()
	enc, err := twin.NewEncoder(s, []byte("a key of the tests, 32 bytes long"))
	if err == nil {
		err = enc.Add(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return enc.FinishJoined()
}

func noised(exact twin.Oracle, seed byte) twin.Oracle {
	random := rand.NewChaCha8([32]byte{seed})
	return twin.Noised(exact, func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
		return release.Sums(sums, norm, rho, random)
	})
}

// marginals gives the mean exact distance of all tables of one and of two columns, in
// full resolution; every unit weighs one.
func marginals(s twin.Schema, a, b *model.Data) (one, two float64) {
	weight := func(d *model.Data) []float64 {
		rows, out := make([]float64, d.Count), make([]float64, d.Rows())
		for _, u := range d.Units {
			rows[u]++
		}
		for r, u := range d.Units {
			out[r] = 1 / rows[u] / float64(d.Count)
		}
		return out
	}
	wa, wb := weight(a), weight(b)
	distance := func(i, j int) float64 {
		n := s.Columns[j].Bins()
		table := make([]float64, s.Columns[i].Bins()*n)
		for r, w := range wa {
			table[int(a.Bins[i][r])*n+int(a.Bins[j][r])] += w
		}
		for r, w := range wb {
			table[int(b.Bins[i][r])*n+int(b.Bins[j][r])] -= w
		}
		sum := 0.0
		for _, x := range table {
			sum += math.Abs(x) / 2
		}
		return sum
	}
	pairs := 0
	for i := range s.Columns {
		one += distance(i, i) / float64(len(s.Columns))
		for j := range i {
			two += distance(i, j)
			pairs++
		}
	}
	return one, two / float64(max(1, pairs))
}

// epsilonOne is the price whose ε at δ = 1e-6 is 1.
const epsilonOne = "0.02435597"

var twinned = []struct {
	file string
	spec twin.Spec
}{
	{"public_security", twin.Spec{Dataset: "population", Columns: []string{"gender", "birth_date", "district", "household_type"}}},
	{"health", twin.Spec{Dataset: "visits", Columns: []string{"visit_date", "hospital", "department", "diagnosis", "fee_yuan", "insured_yuan"}, RowsPerUnit: 12}},
	{"hrss", twin.Spec{Dataset: "social_insurance", Columns: []string{"month", "scheme", "base_yuan", "contribution_yuan", "district", "industry"}, PerUnit: []string{"district"}, RowsPerUnit: 12}},
	{"natural_resources", twin.Spec{Dataset: "property", Columns: []string{"area_sqm", "price_yuan", "use", "district", "registered_date"}, RowsPerUnit: 3}},
}

// insured is the share of the residents of a table, by a cell of one of its columns, who
// have a row in another.
func insured(a, b twin.Joined, column, cells int) []float64 {
	in, all := make([]float64, cells), make([]float64, cells)
	for r, u := range a.Data.Units {
		cell := a.Data.Bins[column][r]
		all[cell]++
		if _, ok := slices.BinarySearch(b.Units, a.Units[u]); ok {
			in[cell]++
		}
	}
	for i := range in {
		in[i] /= max(1, all[i])
	}
	return in
}

// The twins of the demo city's tables keep their marginals at ε = 1, and together who of
// the residents is insured.
func TestTwinsOfTheCityKeepMarginals(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run")
	}
	residents := 60_000
	if os.Getenv("SANDGATE_CITY") == "full" {
		residents = 200_000
	}
	g := New(Config{Seed: 1, Residents: residents})
	var members []twin.Member
	var data []twin.Joined
	for _, c := range twinned {
		e := entryOf(t, c.file, c.spec.Dataset)
		c.spec.Rho = epsilonOne
		s, err := twin.NewSchema(c.spec, e)
		if err != nil {
			t.Fatal(err)
		}
		d := encode(t, s, batchOf(t, g, e, s))
		x, err := twin.Learn(t.Context(), s, noised(twin.Local(d.Data, s), 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		sampler, err := x.Sampler([]byte("tests"))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := sampler.Rows(0, d.Data.Count)
		if err != nil {
			t.Fatal(err)
		}
		one, two := marginals(s, d.Data, encode(t, s, model.Batch{Units: rows.Units, Ranks: rows.Ranks, Columns: rows.Columns[:len(s.Columns)]}).Data)
		t.Logf("%s, %d units: 1-way %.4f, 2-way %.4f; reported %+v, %+v", e.Dataset.ID, d.Data.Count, one, two, x.Quality.OneWay, x.Quality.TwoWay)
		if one > 0.02 || two > 0.06 {
			t.Errorf("%s: mean distance of 1-way marginals %.4f (at most 0.02), of 2-way ones %.4f (at most 0.06)", e.Dataset.ID, one, two)
		}
		members, data = append(members, twin.Member{Entry: e, Schema: s, Twin: x}), append(data, d)
	}
	span, err := twin.NewSpan(members, "0.01")
	if err != nil {
		t.Fatal(err)
	}
	var twins []*twin.Twin
	for _, m := range members {
		twins = append(twins, m.Twin)
	}
	begin := time.Now()
	r, err := twin.LearnRelations(t.Context(), span, twins, noised(twin.LocalSpan(data, span), 2), nil)
	if err != nil {
		t.Fatal(err)
	}
	linked, err := twin.NewLinked(r, twins, []byte("tests"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("relations: %v to learn, %d units, reported %+v", time.Since(begin), r.Units, r.Quality)
	drawn := make([]twin.Joined, len(members))
	for i, m := range members {
		begin := time.Now()
		rows, err := linked.Rows(i, 0, int(r.Units))
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(begin)
		drawn[i] = encode(t, m.Schema, model.Batch{Units: rows.Units, Ranks: rows.Ranks, Columns: rows.Columns[:len(m.Schema.Columns)]})
		one, two := marginals(m.Schema, data[i].Data, drawn[i].Data)
		t.Logf("%s tied: %d units of %d, 1-way %.4f, 2-way %.4f, %.0f rows/s", m.Schema.Dataset, drawn[i].Data.Count, data[i].Data.Count, one, two, float64(len(rows.Units))/took.Seconds())
		if one > 0.02 || two > 0.06 {
			t.Errorf("%s tied: mean distance of 1-way marginals %.4f (at most 0.02), of 2-way ones %.4f (at most 0.06)", m.Schema.Dataset, one, two)
		}
	}
	born := slices.IndexFunc(members[0].Schema.Columns, func(c twin.Column) bool { return c.Column == "birth_date" })
	cells := members[0].Schema.Columns[born].Bins()
	want, got := insured(data[0], data[2], born, cells), insured(drawn[0], drawn[2], born, cells)
	off, spread, weight := 0.0, 0.0, make([]float64, cells)
	for _, b := range data[0].Data.Bins[born] {
		weight[b] += 1 / float64(data[0].Data.Rows())
	}
	mean := 0.0
	for i, w := range weight {
		mean += w * want[i]
	}
	for i, w := range weight {
		off, spread = off+w*math.Abs(want[i]-got[i]), spread+w*math.Abs(want[i]-mean)
	}
	t.Logf("insured by year of birth: off by %.3f in the mean, where shares differ by %.3f", off, spread)
	if off > 0.08 || spread < 0.15 {
		t.Errorf("who is insured, by year of birth: off by %.3f in the mean (at most 0.08), where shares differ by %.3f", off, spread)
	}
}
