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
	lo, hi := -int64(rng.IntN(1000)), int64(2+rng.IntN(5000))
	nullable := map[bool]string{true: ", nullable: true", false: ""}
	id := fmt.Sprintf("replay%d", i)
	x.table = attack.Table{ID: id, Many: x.many, Rule: `budget: {query_max: "1", operator_year: "1", dataset_year: "1", lifetime: "1"}`, Columns: []attack.Column{
		{Name: "k", YAML: "type: text, codes: [{value: a}, {value: b}, {value: c}]" + nullable[x.nullK], Uses: "key, filter"},
		{Name: "g", YAML: `type: int, bounds: {lo: "0", hi: "4"}`, Uses: "key, filter, measure"},
		{Name: "p", YAML: "type: text", Uses: "private key, filter"},
		{Name: "m", YAML: fmt.Sprintf(`type: int, bounds: {lo: "%d", hi: "%d"}, grid: {edges: ["%d", "1", "%d"]}`, lo, hi, lo, hi) + nullable[x.nullM], Uses: "measure, filter"},
		{Name: "d", YAML: `type: decimal, scale: 2, bounds: {lo: "-5.00", hi: "99.99"}, grid: {edges: ["-5.00", "0.00", "7.50", "99.99"]}`, Uses: "key, measure, filter"},
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

// pick draws up to n different elements.
func pick(rng *rand.Rand, from []string, n int) []string {
	out := slices.Clone(from)
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(n, len(out))]
}

func (x *replayed) query(rng *rand.Rand) string {
	conditions := []string{
		fmt.Sprintf("m > %d", rng.IntN(400)-200), "b", "NOT b", "k IN ('a', 'b')", fmt.Sprintf("d BETWEEN -2.50 AND %d", rng.IntN(90)),
		fmt.Sprintf("g <> %d", rng.IntN(5)), "(k = 'a' OR p = 'p3')", "NOT (m < 5 AND d > 3)", "m + 3 > g * 2",
	}
	if x.nullM {
		conditions = append(conditions, "m IS NOT NULL")
	}
	where := ""
	if n := rng.IntN(3); n > 0 {
		where = " WHERE " + strings.Join(pick(rng, conditions, n), " AND ")
	}
	table := x.table.ID
	switch rng.IntN(6) {
	case 0: // values per unit
		out := pick(rng, []string{"COUNT(*) AS x0", "SUM(s) AS x1", "AVG(s) AS x2", "SUM(n) AS x3", "SUM(CASE WHEN n > 2 THEN s ELSE 0 END) AS x4"}, 1+rng.IntN(2))
		return "WITH u AS (SELECT id, COUNT(*) AS n, SUM(d) AS s, MAX(g) AS h FROM " + table + where + " GROUP BY id) SELECT CASE WHEN n >= 3 THEN 1 ELSE 0 END AS c, " +
			strings.Join(out, ", ") + " FROM u GROUP BY c"
	case 1: // a private join on the unit
		return "SELECT p.k, COUNT(*) AS x0, SUM(u.s) AS x1 FROM " + table + " p LEFT JOIN (SELECT id, SUM(d) AS s FROM " + table + where + " GROUP BY id) u ON p.id = u.id GROUP BY p.k"
	}
	keys := pick(rng, []string{"k", "g", "p", "b", "CASE WHEN m > 5 THEN 1 ELSE 0 END", "bin(d)", "COALESCE(k, 'z')"}, rng.IntN(3))
	aggs := pick(rng, []string{
		"COUNT(*)", "COUNT(DISTINCT id)", "COUNT(m)", "SUM(m)", "AVG(m)", "SUM(d)", "AVG(d)", "VAR_SAMP(m)", "STDDEV_POP(d)", "CORR(m, d)", "REGR_SLOPE(d, m)",
		"MEDIAN(d)", "MIN(m)", "MAX(d)", "QUANTILE_CONT(d, 0.9)", "SUM(abs(m) + 2)", "SUM(m * m)", "SUM(CASE WHEN b THEN m ELSE 0 END)", "COUNT(*) FILTER (WHERE m > 3)",
		"SUM(d) FILTER (WHERE b)", "AVG(m) FILTER (WHERE k = 'a')", "COUNT(DISTINCT id) FILTER (WHERE NOT b)", "SUM(m - g * 7)",
	}, 1+rng.IntN(3))
	var cols, names []string
	for i, k := range keys {
		names = append(names, fmt.Sprint("y", i))
		cols = append(cols, k+" AS "+names[i])
	}
	for i, a := range aggs {
		cols = append(cols, fmt.Sprintf("%s AS x%d", a, i))
	}
	sql := "SELECT " + strings.Join(cols, ", ") + " FROM " + table + where
	switch {
	case len(keys) > 0 && rng.IntN(4) == 0:
		sql += " GROUP BY ROLLUP(" + strings.Join(names, ", ") + ")"
	case len(keys) > 0:
		sql += " GROUP BY " + strings.Join(names, ", ")
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

// distance2 is the squared L2 distance of measure i between two sets of cells, as
// the kernel sees it: sums of squares less their centre per row.
func distance2(plan *protect.Plan, x, y protect.Partials, i int) *big.Int {
	cells := map[string]*big.Int{}
	add := func(p protect.Partials, sign int64) {
		for _, c := range p.Cells {
			key := fmt.Sprint(c.Keys)
			if cells[key] == nil {
				cells[key] = new(big.Int)
			}
			v := new(big.Int).Set(c.M[i])
			if m := plan.Measures[i]; m.Centre != nil {
				v.Sub(v, new(big.Int).Mul(m.Centre, c.M[m.CentreBy]))
			}
			cells[key].Add(cells[key], v.Mul(v, big.NewInt(sign)))
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
	tables, each := attack.Trials(4, 40), attack.Trials(8, 25)
	ran, refused, other, tooFar, unbounded, weighted := 0, 0, 0, 0, 0, 0
	closest, reasons := 0.0, map[string]int{}
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
				reasons[z.refusal]++
				if reasons[z.refusal] == 1 {
					t.Logf("%s: %s", x.queries[q], z.refusal)
				}
				continue
			}
			ran++
			if z.plan.Weight != 0 {
				weighted++
			}
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
				d := distance2(z.plan, z.partials, y.partials, m)
				if measure.Vector != 0 { // one sensitivity for all cells of the vector
					d = new(big.Int)
					for j, o := range z.plan.Measures {
						if o.Vector == measure.Vector {
							d.Add(d, distance2(z.plan, z.partials, y.partials, j))
						}
					}
				}
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
	if ran < tables*each/2 {
		t.Errorf("only %d of %d queries were replayed", ran, tables*each)
	}
	if closest < 0.9 {
		t.Errorf("no measure came near what it declares (%.2f): the data sets are too tame", closest)
	}
	for r, n := range reasons {
		t.Logf("%d refused alike: %s", n, r)
	}
	attack.Record(t, attack.Score{Attack: "10 frozen-mechanism replay on neighbours", Figure: fmt.Sprintf("%d too far, %d other", tooFar, other), Bound: "0, 0", Control: fmt.Sprintf("%d too far if rows were not bounded for", unbounded),
		Pass: tooFar == 0 && other == 0 && unbounded > 0, Trials: ran, Note: fmt.Sprintf("%d refused alike on both; %d with weights; nearest %.2f of the declared", refused, weighted, closest)})
}
