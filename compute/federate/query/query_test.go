package query

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/internal/reference"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/compute/release"
)

var (
	textType = algebra.Type{Kind: algebra.Text}
	yuanType = algebra.Type{Kind: algebra.Decimal, Scale: 2}
)

func facts() protect.Facts {
	code := func(s string) algebra.Value { return algebra.Value{Type: textType, S: s} }
	return protect.Facts{Dataset: "t", Department: "dept", Mode: protect.ModeDP, MaxRows: 2, K: 10, Round: 5, QueryRho: budget.DefaultQuery, QueryMaxRho: 100_000_000,
		Columns: map[string]protect.ColumnFacts{
			"g":   {Type: textType, Codes: []algebra.Value{code("a"), code("b"), code("c")}},
			"h":   {Type: textType, Codes: []algebra.Value{code("x"), code("y")}, Nullable: true},
			"w":   {Type: textType, Private: true},
			"pay": {Type: yuanType, Bounds: &protect.Range{Lo: 0, Hi: 1_000_000}, Stored: &protect.Range{Lo: 0, Hi: 1_000_000}, Grid: []int64{0, 250_000, 500_000, 1_000_000}},
		}}
}

func col(f protect.Facts, name string) algebra.Col {
	return algebra.Col{Name: name, Type: f.Columns[name].Type}
}

func plan(t testing.TB, f protect.Facts, keys string) *protect.Plan {
	t.Helper()
	pay := col(f, "pay")
	c := algebra.Core{Tables: []algebra.Table{{Dataset: "t"}}, Aggs: []algebra.Agg{{Func: algebra.CountRows}, {Func: algebra.Sum, Arg: &pay}, {Func: algebra.Avg, Arg: &pay},
		{Func: algebra.VarPop, Arg: &pay}, {Func: algebra.Quantile, Arg: &pay, Q: 500_000}}}
	for _, k := range strings.Split(keys, "") {
		c.Keys = append(c.Keys, col(f, k))
	}
	p, r := protect.Build(c, []protect.Facts{f}, 100_000_000)
	if r != nil {
		t.Fatal(r)
	}
	return p
}

// data are a domain's: units with one row each.
func data(domain, units int) reference.Data {
	d := reference.Data{}
	for i := range units {
		h := algebra.Value{Type: textType, S: string("xy"[i%2])}
		if i%7 == 0 {
			h = algebra.Value{Type: textType, Null: true}
		}
		d["t"] = append(d["t"], reference.Row{Unit: fmt.Sprintf("%d/%d", domain, i), Rank: 1, Values: map[string]algebra.Value{
			"g": {Type: textType, S: string("abc"[i%3])}, "h": h, "w": {Type: textType, S: strconv.Itoa(i)},
			"pay": {Type: yuanType, I: int64((i*7919 + domain*104729) % 1_000_000)}}})
	}
	return d
}

var terms = Terms{MaxUnits: 1 << 12, Overlap: 2, Period: "2026-10"}

func proposalOf(q *Query) *federate.Proposal {
	return &federate.Proposal{V: federate.Version, Nonce: q.Query(), Scheme: federate.BGV, Query: q.Query(), Schema: q.Schema(), Columns: q.Columns(),
		Contributors: []string{"a", "b", "c"}, Regulator: "r", Departments: []string{"a"}, Threshold: 1, Aggregator: "gateway", Receiver: "operator", MinContributors: 3, Dishonest: 1, Deadline: 1}
}

// R39: the sums of three domains' cells are, through the kernel, what one domain with all
// their rows would have; the price is the plan's, and the noise counts a unit once for each
// domain that it may stand in.
func TestR39_JointReleaseIsThatOfAllRows(t *testing.T) {
	p := plan(t, facts(), "gh")
	q, err := New(p, terms, "salt")
	if err != nil {
		t.Fatal(err)
	}
	prop := proposalOf(q)
	if f := prop.Check(); f != nil {
		t.Fatal(f)
	}
	if got := prop.Price(); got > p.Rho || got < p.Rho*9/10 {
		t.Errorf("price %d, the plan's is %d", got, p.Rho)
	}
	for i, c := range q.Columns() {
		if c.Sensitivity2.Cmp(new(big.Int).Lsh(p.Measures[firstOf(q, i)].Sens2, 2)) != 0 {
			t.Errorf("column %s does not count a unit twice", c.Name)
		}
	}
	sums, all := []int64(nil), reference.Data{}
	for domain := range 3 {
		d := data(domain, 900)
		all["t"] = append(all["t"], d["t"]...)
		cells, err := q.Cells(reference.Partials(p, d))
		if err != nil {
			t.Fatal(err)
		}
		if len(cells) != prop.Cells() {
			t.Fatalf("%d cells, the proposal has %d", len(cells), prop.Cells())
		}
		at := 0
		for _, c := range prop.Columns {
			for range c.Cells {
				if cells[at] < c.Low || cells[at] > c.High {
					t.Fatalf("a cell of %s lies outside its bounds", c.Name)
				}
				at++
			}
		}
		if sums == nil {
			sums = make([]int64, len(cells))
		}
		for i, x := range cells {
			sums[i] += x
		}
	}
	joint, err := q.Release(prop, sums)
	if err != nil {
		t.Fatal(err)
	}
	want, err := q.Cells(reference.Partials(p, all))
	if err != nil {
		t.Fatal(err)
	}
	one, err := q.Release(prop, want)
	if err != nil {
		t.Fatal(err)
	}
	if string(joint.Encode()) != string(one.Encode()) {
		t.Error("the joint release is not that of all rows")
	}
	if joint.Len() != 9 || joint.Rho() != p.Rho {
		t.Errorf("%d rows at %d", joint.Len(), joint.Rho())
	}
	// Counts are those of the rows, and intervals as wide as all decryptors' noise.
	rows := joint.Rows()
	total := 0.0
	for _, r := range rows {
		n, _ := strconv.ParseFloat(r[2].Value, 64)
		total += n
	}
	if total != 2700 {
		t.Errorf("%v rows are counted of 2700", total)
	}
	if _, err := q.Release(prop, sums[1:]); err == nil {
		t.Error("a cell too few is released")
	}
	prop.Schema = prop.Query
	if _, err := q.Release(prop, sums); err == nil {
		t.Error("the sums of another query are released")
	}
}

func firstOf(q *Query, column int) int {
	for i, c := range q.of {
		if c == column {
			return i
		}
	}
	return -1
}

// R39: whatever domains do not have alike makes another schema, and so does another
// question; the query is the data's, and another in another period alone.
func TestR39_SchemaTellsDomainsApart(t *testing.T) {
	base, err := New(plan(t, facts(), "gh"), terms, "salt")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(f *protect.Facts){
		"code list": func(f *protect.Facts) { c := f.Columns["g"]; c.Codes = c.Codes[:2]; f.Columns["g"] = c },
		"clamp": func(f *protect.Facts) {
			c := f.Columns["pay"]
			c.Bounds = &protect.Range{Lo: 0, Hi: 900_000}
			f.Columns["pay"] = c
		},
		"rows":     func(f *protect.Facts) { f.MaxRows = 3 },
		"nullable": func(f *protect.Facts) { c := f.Columns["h"]; c.Nullable = false; f.Columns["h"] = c },
		"grid": func(f *protect.Facts) {
			c := f.Columns["pay"]
			c.Grid = []int64{0, 500_000, 1_000_000}
			f.Columns["pay"] = c
		},
	} {
		f := facts()
		change(&f)
		q, err := New(plan(t, f, "gh"), terms, "salt")
		if err != nil {
			t.Fatal(err)
		}
		if q.Schema() == base.Schema() || q.Query() != base.Query() || q.Fits(proposalOf(base)) {
			t.Errorf("%s: the schema is the same, or the query is not", name)
		}
	}
	again, err := New(plan(t, facts(), "gh"), terms, "salt")
	if err != nil || again.Schema() != base.Schema() || !again.Fits(proposalOf(base)) {
		t.Error("the same plan is another schema")
	}
	if other, err := New(plan(t, facts(), "g"), terms, "salt"); err != nil || other.Schema() == base.Schema() || other.Query() != base.Query() || other.Fits(proposalOf(base)) {
		t.Error("another question of the same data has the same schema, or is not about the same data")
	}
	// What ledgers hold of the schema is salted; the data's digest tells the data alone.
	if other, err := New(plan(t, facts(), "gh"), terms, "another"); err != nil || other.Schema() == base.Schema() || other.Query() != base.Query() || other.Fits(proposalOf(base)) || !other.SameNoise(proposalOf(base)) {
		t.Error("a guess at the query could be tested by its schema, or replay needs the salt")
	}
	later := terms
	later.Period = "2026-11"
	if q, err := New(plan(t, facts(), "gh"), later, "salt"); err != nil || q.Query() == base.Query() {
		t.Error("another period is the same query")
	}
}

// Keys from data, and terms without bounds, are not added up.
func TestR39_WhatCannotBeAddedUp(t *testing.T) {
	f := facts()
	if _, err := New(plan(t, f, "gw"), terms, "salt"); err == nil {
		t.Error("keys from data")
	}
	exact := *plan(t, f, "g")
	exact.Mode = protect.ModeExact
	if _, err := New(&exact, terms, "salt"); err == nil {
		t.Error("an exact plan")
	}
	cheap := *plan(t, f, "g")
	cheap.Measures = append([]protect.Measure(nil), cheap.Measures...)
	cheap.Measures[0].Sigma2 = big.NewInt(0).Rsh(cheap.Measures[0].Sigma2, 1)
	if _, err := New(&cheap, terms, "salt"); err == nil && cheap.Measures[0].Sigma2.Sign() > 0 {
		t.Error("a plan that does not pay")
	}
	p := plan(t, f, "g")
	for _, bad := range []Terms{{}, {MaxUnits: 1, Period: "p"}, {Overlap: 1, Period: "p"}, {MaxUnits: 1, Overlap: 1}, {MaxUnits: 1<<40 + 1, Overlap: 1, Period: "p"}, {MaxUnits: 1 << 40, Overlap: 1, Period: "p"}} {
		if _, err := New(p, bad, "salt"); err == nil {
			t.Errorf("%+v", bad)
		}
	}
}

// R39: units are counted once in every domain that they stand in, per key. With units in up
// to two of three domains the count is at most twice the true number, never below it, and
// the release's interval holds the true number, which that of terms without an overlap does
// not (control). The release says so, also after it was stored and read.
func TestR39_DistinctUnitsAcrossDomains(t *testing.T) {
	for _, oneRow := range []bool{false, true} {
		f := facts()
		if f.OneRow = oneRow; oneRow {
			f.MaxRows = 1
		}
		c := algebra.Core{Tables: []algebra.Table{{Dataset: "t"}}, Keys: []algebra.Col{col(f, "g")}, Aggs: []algebra.Agg{{Func: algebra.CountUnits}, {Func: algebra.CountRows}}}
		p, r := protect.Build(c, []protect.Facts{f}, 100_000_000)
		if r != nil {
			t.Fatal(r)
		}
		// Every person of the first domain's first 900 stands in the second too, with the same key.
		truth, domains := map[string]map[string]bool{}, make([]reference.Data, 3)
		for i := range domains {
			domains[i] = reference.Data{}
			for u := range 1200 {
				who := fmt.Sprintf("%d/%d", i, u)
				if i == 1 && u < 900 {
					who = fmt.Sprintf("0/%d", u)
				}
				key := string("abc"[u%3])
				if truth[key] == nil {
					truth[key] = map[string]bool{}
				}
				truth[key][who] = true
				for n := range p.MaxRows {
					domains[i]["t"] = append(domains[i]["t"], reference.Row{Unit: who, Rank: n + 1, Values: map[string]algebra.Value{"g": {Type: textType, S: key}, "pay": {Type: yuanType}, "h": {Type: textType, S: "x"}, "w": {Type: textType, S: "w"}}})
				}
			}
		}
		holds := func(overlap int) (all bool) {
			at := terms
			at.Overlap = overlap
			q, err := New(p, at, "salt")
			if err != nil {
				t.Fatal(err)
			}
			prop := proposalOf(q)
			var sums []int64
			for _, d := range domains {
				cells, err := q.Cells(reference.Partials(p, d))
				if err != nil {
					t.Fatal(err)
				}
				if sums == nil {
					sums = make([]int64, len(cells))
				}
				for i, x := range cells {
					sums[i] += x
				}
			}
			joint, err := q.Release(prop, sums)
			if err != nil {
				t.Fatal(err)
			}
			again, err := release.Load(joint.Encode(), joint.Digest())
			if err != nil || again.Overlap() != overlap {
				t.Fatalf("the release does not keep its overlap: %v", err)
			}
			if note := again.OverlapNote(); (note.ZH != "") != (overlap > 1) || overlap > 1 && !strings.Contains(note.EN, "1/2") {
				t.Errorf("the note of overlap %d is %q", overlap, note.EN)
			}
			all = true
			for _, row := range again.Rows() {
				lo, _ := strconv.Atoi(row[1].Lo)
				hi, _ := strconv.Atoi(row[1].Hi)
				n, _ := strconv.Atoi(row[1].Value)
				units := len(truth[row[0].Value])
				if n != 1200 || units != 900 {
					t.Fatalf("%d units are counted, %d there are", n, units)
				}
				all = all && lo <= units && units <= hi
				// The count of rows is of rows: a row stands in one domain.
				if rows, _ := strconv.Atoi(row[2].Lo); rows <= 1200/2 {
					t.Errorf("the interval of a count of rows reaches down to %d", rows)
				}
			}
			return all
		}
		if !holds(2) {
			t.Error("the interval does not hold the true number of units")
		}
		if holds(1) {
			t.Error("control: the interval holds the true number without an overlap")
		}
	}
}

// R39: whether an answer fits into its delivery is known before anybody pays: what counts
// as fitting does with the widest sums that there can be, and a delivery of that size is
// read.
func TestR39_AnswersFitTheirDelivery(t *testing.T) {
	made := func(codes int, pad string) *Query {
		f := facts()
		c := f.Columns["g"]
		c.Codes = nil
		for i := range codes {
			c.Codes = append(c.Codes, algebra.Value{Type: textType, S: fmt.Sprintf("%05d\x01", i) + pad})
		}
		f.Columns["g"] = c
		pay := col(f, "pay")
		p, r := protect.Build(algebra.Core{Tables: []algebra.Table{{Dataset: "t"}}, Keys: []algebra.Col{col(f, "g")}, Aggs: []algebra.Agg{{Func: algebra.Avg, Arg: &pay}, {Func: algebra.VarPop, Arg: &pay}, {Func: algebra.CountRows}}}, []protect.Facts{f}, 100_000_000)
		if r != nil {
			t.Fatal(r)
		}
		q, err := New(p, Terms{MaxUnits: 1 << 10, Overlap: 64, Period: "2026-10"}, "salt")
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	const codes = 2000
	q := made(codes, "")
	prop := proposalOf(q)
	for _, sign := range []int64{1, -1} {
		var sums []int64
		for _, c := range prop.Columns {
			for range c.Cells {
				sums = append(sums, sign*c.High*federate.MaxContributors)
			}
		}
		rel, err := q.Release(prop, sums)
		if err != nil {
			t.Fatal(err)
		}
		if got, most := len(rel.Encode())/codes, numberBytes*3+keyBytes+13; got > most {
			t.Errorf("a row takes %d bytes, counted on are %d", got, most)
		}
	}
	if !q.Deliverable() || made(9000, strings.Repeat("长", 300)).Deliverable() {
		t.Error("2000 short rows do not fit, or 9000 long ones do")
	}
	d := federate.Delivery{V: federate.Version, Session: strings.Repeat("0", 64), From: "r", Receiver: "operator", At: 1, Request: "request", Post: []byte(`"` + strings.Repeat("n", 1<<16-2) + `"`), Brief: strings.Repeat("0", 64), Values: strings.Repeat("0", 64), Release: make([]byte, federate.MaxRelease)}
	if _, err := federate.DecodeDelivery(d.Encode()); err != nil {
		t.Errorf("the largest delivery is not read: %v", err)
	}
	d.Release = make([]byte, federate.MaxDelivery)
	if _, err := federate.DecodeDelivery(d.Encode()); err == nil {
		t.Error("a delivery beyond all bounds is read")
	}
}
