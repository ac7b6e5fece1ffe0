package twin

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/policies"
)

var testKey = []byte("a key of the tests, 32 bytes long")

// epsilonOne is the price whose ε at δ = 1e-6 is 1.
const epsilonOne = "0.02435597"

func codes(prefix string, n int) []policies.Code {
	var out []policies.Code
	for i := range n {
		out = append(out, policies.Code{Value: fmt.Sprintf("%s%02d", prefix, i)})
	}
	return out
}

// registry is the catalogue entry of a made-up register of residents: twelve columns to
// learn, four that identify.
func registry() policies.Entry {
	d := policies.Dataset{ID: "registry", Unit: &policies.Unit{Column: "person", Kind: "person"}, Columns: []policies.Column{
		{Name: "person", Type: algebra.Text},
		{Name: "sex", Type: algebra.Text, Codes: codes("s", 2)},
		{Name: "born", Type: algebra.Date, Bounds: &policies.Bounds{Lo: "1930-01-01", Hi: "2019-12-31"}},
		{Name: "district", Type: algebra.Text, Codes: codes("d", 12)},
		{Name: "education", Type: algebra.Int, Codes: []policies.Code{{Value: "1"}, {Value: "2"}, {Value: "3"}, {Value: "4"}, {Value: "5"}, {Value: "6"}, {Value: "7"}}},
		{Name: "job", Type: algebra.Text, Codes: codes("j", 20), Nullable: true},
		{Name: "income", Type: algebra.Decimal, Scale: 2, Bounds: &policies.Bounds{Lo: "0", Hi: "40000.00"},
			Grid: &policies.Grid{Edges: []string{"0", "1000.00", "2000.00", "3000.00", "4000.00", "6000.00", "8000.00", "10000.00", "15000.00", "20000.00", "30000.00", "40000.00"}}, Nullable: true},
		{Name: "insured", Type: algebra.Bool},
		{Name: "visits", Type: algebra.Int, Bounds: &policies.Bounds{Lo: "0", Hi: "20"}},
		{Name: "chapter", Type: algebra.Text, Codes: codes("c", 18)},
		{Name: "fee", Type: algebra.Decimal, Scale: 2, Bounds: &policies.Bounds{Lo: "0", Hi: "9999.99"}},
		{Name: "household", Type: algebra.Int, Bounds: &policies.Bounds{Lo: "1", Hi: "8"}},
		{Name: "scheme", Type: algebra.Text, Codes: codes("h", 4)},
		{Name: "citizen_id", Type: algebra.Text, Identifier: policies.IdentCitizen},
		{Name: "employer", Type: algebra.Text, Identifier: policies.IdentCredit},
		{Name: "name", Type: algebra.Text, Identifier: policies.IdentName},
		{Name: "free", Type: algebra.Text},
	}}
	return policies.Entry{Dataset: d, Department: "bureau", Masked: true, Levels: map[string]int{"sex": 2}, Rule: &policies.DisclosureRule{Mode: "dp", MaxRows: 5}}
}

// learned are the columns of registry that are learned.
var learned = []string{"sex", "born", "district", "education", "job", "income", "insured", "visits", "chapter", "fee", "household", "scheme"}

func schemaOf(t testing.TB, spec Spec, e policies.Entry) Schema {
	t.Helper()
	if spec.Rho == "" {
		spec.Rho = epsilonOne
	}
	spec.Dataset = e.Dataset.ID
	s, err := NewSchema(spec, e)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// residents are rows of registry, in which columns depend on each other.
func residents(units, most int, seed uint64) model.Batch {
	r := rand.New(rand.NewPCG(seed, 7))
	day := func(s string) int64 { d, _ := algebra.ParseDate(s); return d }
	lo, hi := day("1930-01-01"), day("2019-12-31")
	columns := map[string]*model.Column{}
	for _, name := range learned {
		columns[name] = &model.Column{}
	}
	text := func(name, prefix string, k int, null bool) {
		c := columns[name]
		s := fmt.Sprintf("%s%02d", prefix, k)
		if null {
			s = ""
		}
		c.Texts, c.Null = append(c.Texts, s), append(c.Null, null)
	}
	number := func(name string, x int64, null bool) {
		c := columns[name]
		c.Ints, c.Null = append(c.Ints, x), append(c.Null, null)
	}
	skewed := func(n int, centre float64) int {
		return max(0, min(n-1, int(math.Round(centre+r.NormFloat64()*float64(n)/8))))
	}
	var b model.Batch
	for u := range units {
		rows := 1
		for rows < most && r.IntN(3) == 0 {
			rows++
		}
		sex, age := r.IntN(2), math.Min(0.999, math.Abs(r.NormFloat64()*0.35+0.45))
		born := hi - int64(age*float64(hi-lo))
		district := skewed(12, 4)
		education := skewed(7, 5-4*age)
		work := age > 0.22 && age < 0.7 && r.IntN(10) > 0
		for range rows {
			b.Units = append(b.Units, uint64(u)*2654435761+1)
			job := skewed(20, 2+2.4*float64(education))
			income := int64(math.Exp(7.3+0.25*float64(education)+0.04*float64(job)+0.3*r.NormFloat64()) * 100)
			visits := min(20, int(math.Abs(r.NormFloat64())*(1+7*age)))
			chapter := skewed(18, 2+12*age+float64(sex))
			fee := int64(math.Exp(4+0.15*float64(visits)+0.08*float64(chapter)+0.4*r.NormFloat64()) * 100)
			text("sex", "s", sex, false)
			number("born", born, false)
			text("district", "d", district, false)
			number("education", int64(education)+1, false)
			text("job", "j", job, !work)
			number("income", min(income, 4000000), !work)
			number("insured", int64(min(1, r.IntN(12))), false)
			number("visits", int64(visits), false)
			text("chapter", "c", chapter, false)
			number("fee", min(fee, 999999), false)
			number("household", int64(1+skewed(8, 2.5-1.5*age)), false)
			scheme := 0
			if work {
				scheme = 1 + min(2, district/4)
			}
			text("scheme", "h", scheme, false)
		}
	}
	for _, name := range learned {
		b.Columns = append(b.Columns, *columns[name])
	}
	return b
}

func encoded(t testing.TB, s Schema, b model.Batch) *model.Data {
	t.Helper()
	e, err := NewEncoder(s, testKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Add(b); err != nil {
		t.Fatal(err)
	}
	return e.Finish()
}

type chaCha struct{ c *rand.ChaCha8 }

func (s chaCha) Read(p []byte) (int, error) { return s.c.Read(p) }

var _ io.Reader = chaCha{}

func noisy(d *model.Data, s Schema, seed uint64) Oracle {
	rnd := chaCha{rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 9})}
	return Noised(Local(d, s), func(sums []int64, norm int64, rho budget.Nano) ([]int64, error) {
		return release.Sums(sums, norm, rho, rnd)
	})
}

func learnt(t testing.TB, s Schema, d *model.Data, seed uint64) *Twin {
	t.Helper()
	x, err := Learn(t.Context(), s, noisy(d, s, seed), nil)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// drawnFrom gives rows of a twin, coded as the data are.
func drawnFrom(t testing.TB, s Schema, x *Twin, units int) (Rows, *model.Data) {
	t.Helper()
	p, err := x.Sampler([]byte("tests"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := p.Rows(0, units)
	if err != nil {
		t.Fatal(err)
	}
	b := model.Batch{Units: rows.Units, Ranks: rows.Ranks, Columns: rows.Columns[:len(s.Columns)]}
	return rows, encoded(t, s, b)
}

// distances are the exact mean distances of all marginals in full resolution, every
// unit weighing one.
func distances(s Schema, a, b *model.Data) (one, two float64) {
	wa, wb := rowWeights(a), rowWeights(b)
	n := 0
	for i := range s.Columns {
		one += distance(s, a, b, wa, wb, i, i) / float64(len(s.Columns))
		for j := range i {
			two += distance(s, a, b, wa, wb, i, j)
			n++
		}
	}
	return one, two / float64(max(1, n))
}

func rowWeights(d *model.Data) []float64 {
	rows := make([]float64, d.Count)
	for _, u := range d.Units {
		rows[u]++
	}
	out := make([]float64, d.Rows())
	for r, u := range d.Units {
		out[r] = 1 / rows[u] / float64(d.Count)
	}
	return out
}

func distance(s Schema, a, b *model.Data, wa, wb []float64, i, j int) float64 {
	nj := s.Columns[j].Bins()
	t := make([]float64, s.Columns[i].Bins()*nj)
	for r, w := range wa {
		t[int(a.Bins[i][r])*nj+int(a.Bins[j][r])] += w
	}
	for r, w := range wb {
		t[int(b.Bins[i][r])*nj+int(b.Bins[j][r])] -= w
	}
	sum := 0.0
	for _, x := range t {
		sum += math.Abs(x) / 2
	}
	return sum
}
