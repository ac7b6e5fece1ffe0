package gateway_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/attack"
)

// replayed is a random data set in two versions that differ in all rows of one unit.
type replayed struct {
	table        attack.Table
	with, less   string
	queries      []string
	many         int
	nullK, nullM bool
}

func replayTable(rng *rand.Rand, i int) *replayed {
	x := &replayed{many: rng.IntN(5), nullK: rng.IntN(2) == 0, nullM: rng.IntN(2) == 0}
	lo, hi := -int64(rng.IntN(1000)), int64(rng.IntN(5000))
	nullable := map[bool]string{true: ", nullable: true", false: ""}
	id := fmt.Sprintf("replay%d", i)
	x.table = attack.Table{ID: id, Many: x.many, Rule: `budget: {query_max: "1", operator_year: "1", dataset_year: "1", lifetime: "1"}`, Columns: []attack.Column{
		{Name: "k", YAML: "type: text, codes: [{value: a}, {value: b}, {value: c}]" + nullable[x.nullK], Uses: "key, filter"},
		{Name: "g", YAML: `type: int, bounds: {lo: "0", hi: "4"}`, Uses: "key, filter"},
		{Name: "p", YAML: "type: text", Uses: "private key, filter"},
		{Name: "m", YAML: fmt.Sprintf(`type: int, bounds: {lo: "%d", hi: "%d"}`, lo, hi) + nullable[x.nullM], Uses: "measure, filter"},
		{Name: "d", YAML: `type: decimal, scale: 2, bounds: {lo: "-5.00", hi: "99.99"}`, Uses: "measure, filter"},
		{Name: "b", YAML: "type: bool", Uses: "key, filter"},
	}}
	units := []int{1, 2, 40, 120}[rng.IntN(4)]
	leaver := rng.IntN(units)
	var with, less strings.Builder
	const head = "id,k,g,p,m,d,b\n"
	with.WriteString(head)
	less.WriteString(head)
	extremes := []string{"999999999999999999", "-999999999999999999", "0", "-1", fmt.Sprint(hi), fmt.Sprint(lo)}
	for u := range units {
		rows := 1
		if x.many > 0 {
			rows = 1 + rng.IntN(9)
			if u == leaver {
				rows = 12 // more than the bound keeps
			}
		}
		last := ""
		for range rows {
			k, m := string("abc"[rng.IntN(3)]), fmt.Sprint(lo+rng.Int64N(hi-lo+1))
			if x.nullK && rng.IntN(4) == 0 {
				k = ""
			}
			if rng.IntN(3) == 0 || u == leaver {
				m = extremes[rng.IntN(len(extremes))]
			}
			if x.nullM && rng.IntN(4) == 0 {
				m = ""
			}
			row := fmt.Sprintf("u%d,%s,%d,p%d,%s,%d.%02d,%v\n", u, k, rng.IntN(9)-2, rng.IntN(6), m, rng.IntN(300)-100, rng.IntN(100), rng.IntN(2) == 0)
			if last != "" && rng.IntN(4) == 0 {
				row = last // the very same row again
			}
			last = row
			with.WriteString(row)
			if u != leaver {
				less.WriteString(row)
			}
		}
	}
	x.with, x.less = with.String(), less.String()
	x.table.CSV = x.with
	return x
}

func (x *replayed) query(rng *rand.Rand) string {
	var keys []string
	for _, k := range []string{"k", "g", "p", "b"} {
		if rng.IntN(3) == 0 {
			keys = append(keys, k)
		}
	}
	all := []string{"COUNT(*)", "COUNT(DISTINCT id)", "COUNT(m)", "SUM(m)", "AVG(m)", "SUM(d)", "AVG(d)"}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	cols := slices.Clone(keys)
	for i, a := range all[:1+rng.IntN(3)] {
		cols = append(cols, fmt.Sprintf("%s AS x%d", a, i))
	}
	var where []string
	for _, c := range []string{
		fmt.Sprintf("m > %d", rng.IntN(400)-200), "m IS NOT NULL", "b", "NOT b", "k IN ('a', 'b')", fmt.Sprintf("d BETWEEN -2.50 AND %d", rng.IntN(90)),
		fmt.Sprintf("g <> %d", rng.IntN(5)), "(k = 'a' OR p = 'p3')", "NOT (m < 5 AND d > 3)",
	} {
		if rng.IntN(6) == 0 && (x.nullM || c != "m IS NOT NULL") {
			where = append(where, c)
		}
	}
	sql := "SELECT " + strings.Join(cols, ", ") + " FROM " + x.table.ID
	if where != nil {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	if keys != nil {
		sql += " GROUP BY " + strings.Join(keys, ", ")
	}
	return sql
}

// frozen is a mechanism stopped before the noise.
type frozen struct {
	plan     *protect.Plan
	sql      string
	partials protect.Partials
	refusal  string
}

// distance2 is the squared L2 distance of measure i between two sets of cells.
func distance2(x, y protect.Partials, i int) *big.Int {
	cells := map[string]*big.Int{}
	add := func(p protect.Partials, sign int64) {
		for _, c := range p.Cells {
			key := fmt.Sprint(c.Keys)
			if cells[key] == nil {
				cells[key] = new(big.Int)
			}
			cells[key].Add(cells[key], new(big.Int).Mul(big.NewInt(sign), c.M[i]))
		}
	}
	add(x, 1)
	add(y, -1)
	sum := new(big.Int)
	for v := range maps.Values(cells) {
		sum.Add(sum, new(big.Int).Mul(v, v))
	}
	return sum
}

// Re:cord-play (PETS 2026): the whole path, from text to the noise's door, is run
// on neighbouring data sets with the noise taken out. The statement, the plan and
// the keys must be the same, and no measure may move by more than it declares.
func TestAttack10_FrozenMechanismReplay(t *testing.T) {
	a := attack.SharedInside(t)
	rng := rand.New(rand.NewPCG(10, 10))
	tables, each := attack.Trials(3, 40), attack.Trials(6, 25)
	ran, refused, other, tooFar, unbounded := 0, 0, 0, 0, 0
	closest := 0.0
	for i := range tables {
		x := replayTable(rng, i)
		for range each {
			x.queries = append(x.queries, x.query(rng))
		}
		a.Add(t, x.table)
		play := func() []frozen {
			out := make([]frozen, len(x.queries))
			var wg sync.WaitGroup
			for w := range 3 {
				wg.Go(func() {
					for q := w; q < len(x.queries); q += 3 {
						f := &out[q]
						var err error
						f.plan, f.sql, f.partials, err = a.Domain.Replay(t.Context(), attack.Op(0), gateway.Query{Licence: attack.LicenceID(attack.Op(0), x.table.ID), Purpose: attack.Purpose, SQL: x.queries[q], Price: 4_400_000})
						if err != nil {
							f.refusal = err.Error()
						}
					}
				})
			}
			wg.Wait()
			return out
		}
		with := play()
		a.Ingest(t, x.table.ID, x.less)
		for q, y := range play() {
			z := with[q]
			if z.refusal != y.refusal {
				other++
				t.Errorf("%s: %q on one data set, %q on its neighbour", x.queries[q], z.refusal, y.refusal)
				continue
			}
			if z.refusal != "" {
				refused++
				t.Logf("%s: %s", x.queries[q], z.refusal)
				continue
			}
			ran++
			p1, err1 := json.Marshal(z.plan)
			p2, err2 := json.Marshal(y.plan)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if z.sql != y.sql || string(p1) != string(p2) {
				other++
				t.Errorf("%s: statement or plan depends on a unit:\n%s\n%s", x.queries[q], z.sql, y.sql)
			}
			for m, measure := range z.plan.Measures {
				read := measure.Sigma2.Sign() > 0 || z.plan.Selection != nil && z.plan.Selection.Measure == m
				if !read {
					continue
				}
				d := distance2(z.partials, y.partials, m)
				if d.Cmp(measure.Sens2) > 0 {
					tooFar++
					t.Errorf("%s: measure %d (%s) moved by √%s, declared √%s", x.queries[q], m, measure.Kind, d, measure.Sens2)
				}
				ratio, _ := new(big.Rat).SetFrac(d, measure.Sens2).Float64()
				closest = max(closest, ratio)
				// Control: what the measure would declare if one unit had one row.
				rows := big.NewInt(z.plan.MaxRows)
				if measure.Kind != protect.MeasureUnits && d.Mul(d, rows.Mul(rows, rows)).Cmp(measure.Sens2) > 0 {
					unbounded++
				}
			}
		}
	}
	if ran < tables*each*3/4 {
		t.Errorf("only %d of %d queries were replayed", ran, tables*each)
	}
	if closest < 0.9 {
		t.Errorf("no measure came near what it declares (%.2f): the data sets are too tame", closest)
	}
	attack.Record(t, attack.Score{Attack: "10 frozen-mechanism replay on neighbours", Figure: fmt.Sprintf("%d too far, %d other", tooFar, other), Bound: "0, 0", Control: fmt.Sprintf("%d too far if rows were not bounded for", unbounded),
		Pass: tooFar == 0 && other == 0 && unbounded > 0, Trials: ran, Note: fmt.Sprintf("%d refused alike on both; nearest %.2f of the declared", refused, closest)})
}
