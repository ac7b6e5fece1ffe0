package gateway_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/compute/twin"
	"github.com/sandgate/sandgate/gateway"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/attack"
)

// town is an arena of two tables over the same people, whose rules let their twins be tied:
// of those below 30 hardly anybody is in the second one, of those above all are, and there
// the band says how old they are. Returned are the tables.
func town(t *testing.T, more string) (*attack.Arena, []string) {
	t.Helper()
	a, err := attack.NewInside(t.TempDir(), gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Error(err)
		}
	})
	const n = 6000
	var all, paid strings.Builder
	all.WriteString("id,age,district\n")
	paid.WriteString("id,band,sum\n")
	for i := range n {
		age := i * 7 % 90
		fmt.Fprintf(&all, "u%d,%d,%c\n", i, age, 'a'+i%3)
		if age >= 30 || i%50 == 0 {
			fmt.Fprintf(&paid, "u%d,%c,%d\n", i, 'p'+age/30, i%100)
		}
	}
	budget := `budget: {query: "0.02", query_max: "0.05", operator_year: "0.4", dataset_year: "1", lifetime: "1"}, `
	a.Add(t, attack.Table{ID: "all_of", Rule: budget + `twin: {rho: "0.05", relate: [paid_by` + more + `]}`, CSV: all.String(), Columns: []attack.Column{
		{Name: "age", YAML: `type: int, bounds: {lo: "0", hi: "89"}`, Uses: "filter, measure"},
		{Name: "district", YAML: "type: text, codes: [{value: a}, {value: b}, {value: c}]", Uses: "key, filter"},
	}})
	a.Add(t, attack.Table{ID: "paid_by", Rule: budget + `twin: {rho: "0.05", relate: [all_of]}`, CSV: paid.String(), Columns: []attack.Column{
		{Name: "band", YAML: "type: text, codes: [{value: p}, {value: q}, {value: r}]", Uses: "key, filter"},
		{Name: "sum", YAML: `type: int, bounds: {lo: "0", hi: "99"}`, Uses: "measure, filter"},
	}})
	return a, []string{"all_of", "paid_by"}
}

func publish(t *testing.T, a *attack.Arena, dataset string) *sandgatev1.Twin {
	t.Helper()
	x, err := a.Client(attack.Department).Publish(t.Context(), &sandgatev1.PublishTwinRequest{RequestId: uuid.NewString(), Dataset: dataset, Rho: "0.03"}, nil)
	if err != nil || x.GetState() != sandgatev1.Twin_STATE_PUBLISHED {
		t.Fatalf("%v, %v", x, err)
	}
	return x
}

func relate(rho string, datasets ...string) *sandgatev1.RelateTwinsRequest {
	req := &sandgatev1.RelateTwinsRequest{RequestId: uuid.NewString(), Rho: rho}
	for _, id := range datasets {
		req.Tables = append(req.Tables, &sandgatev1.RelatedTable{Dataset: id})
	}
	return req
}

// R02 R33: relations go from the rows of several snapshots, through one jailed worker and
// noise, to a document that ties drawn tables as the data does; the price is on every
// account, once; what ties them no longer is refused or said by name.
func TestR02_RelationsThroughTheGateway(t *testing.T) {
	a, tables := town(t, "")
	dept, op := a.Client(attack.Department), attack.Op(0)
	for _, id := range tables {
		publish(t, a, id)
	}
	spent := func() (out []int64) {
		for _, id := range tables {
			for _, scope := range []string{"dataset_year", "lifetime"} {
				n, _ := a.Spent(t, op, id, scope)
				out = append(out, n)
			}
		}
		return out
	}
	before := spent()
	plan := relate("0.02", "paid_by", "all_of")
	plan.ValidateOnly = true
	if r, err := dept.Relations.RelateTwins(t.Context(), plan); err != nil || len(r.GetReasons()) != 0 || r.GetPriceNanoRho() != 20_000_000 || r.GetTables()[0].GetDataset() != "all_of" {
		t.Fatalf("%v, %v", r, err)
	}
	if got := spent(); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("a question was charged: %v after %v", got, before)
	}
	req := relate("0.02", "paid_by", "all_of")
	r, err := dept.Relate(t.Context(), req, nil)
	if err != nil || r.GetState() != sandgatev1.Twin_STATE_PUBLISHED {
		t.Fatalf("%v, %v", r, err)
	}
	for i, n := range spent() {
		if n-before[i] != 20_000_000 {
			t.Errorf("account %d was charged %d", i, n-before[i])
		}
	}
	if again, err := dept.Relate(t.Context(), req, nil); err != nil || again.GetName() != r.GetName() {
		t.Errorf("%v, %v", again, err)
	}
	if n := spent(); n[0]-before[0] != 20_000_000 {
		t.Error("charged again")
	}

	// What is handed out draws tables that belong together.
	file, err := dept.Relations.DownloadRelations(t.Context(), &sandgatev1.DownloadRelationsRequest{Name: "datasets/paid_by+all_of"})
	if err != nil {
		t.Fatal(err)
	}
	x, err := twin.ParseRelations(file.GetDocument())
	if err != nil {
		t.Fatal(err)
	}
	var twins []*twin.Twin
	for _, id := range tables {
		f, err := dept.Twin.DownloadTwin(t.Context(), &sandgatev1.DownloadTwinRequest{Name: "datasets/" + id})
		if err != nil {
			t.Fatal(err)
		}
		d, err := twin.Parse(f.GetDocument())
		if err != nil {
			t.Fatal(err)
		}
		twins = append(twins, d)
	}
	if _, err := twin.NewLinked(x, twins, []byte("s")); err != nil {
		t.Fatal(err)
	}

	// A join on the twins is near that on the data; drawn apart it would be a third.
	const join = "SELECT COUNT(*) AS n FROM all_of a JOIN paid_by p ON a.id = p.id WHERE a.age < 30"
	licence := both(t, a, op)
	query := func(on *sandgatev1.TwinRun) *sandgatev1.SubmitJobRequest {
		q := onTwin(op, "all_of", join, on)
		q.Query.Licence = licence
		return q
	}
	answer := func(r *sandgatev1.Release) float64 {
		n, err := strconv.ParseFloat(r.GetRows()[0].GetCells()[0].GetValue(), 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	tied, err := a.Client(op).Run(t.Context(), query(nil))
	if err != nil {
		t.Fatal(err)
	}
	m := tied.GetSynthetic()
	if m.GetRelations() != r.GetDocumentDigest() || m.GetUntied() != "" || len(m.GetSources()) != 2 {
		t.Errorf("%v", m)
	}
	if n := answer(tied); math.Abs(n-40) > 250 {
		t.Errorf("tied, %v of the young are in both tables; of the data about 40", n)
	}
	if _, err := a.Client(op).Run(t.Context(), query(&sandgatev1.TwinRun{Units: 1, Seed: "x"})); err != nil && attack.Reason(err) != "TWIN_SIZE" {
		t.Errorf("one unit: %v", err)
	}

	// A twin that is published anew is not what the relations tie.
	publish(t, a, "paid_by")
	apart, err := a.Client(op).Run(t.Context(), query(nil))
	if err != nil {
		t.Fatal(err)
	}
	if m := apart.GetSynthetic(); m.GetRelations() != "" || m.GetUntied() != "RELATIONS_STALE" || m.GetUntiedZh() == "" || m.GetUntiedEn() == "" {
		t.Errorf("%v", m)
	}
	if n := answer(apart); n < 800 {
		t.Errorf("control: drawn apart, %v of the young are in both tables", n)
	}
	if got, err := dept.Relations.GetRelations(t.Context(), &sandgatev1.GetRelationsRequest{Name: r.GetName()}); err != nil || got.GetStale().GetCode() != "RELATIONS_STALE" {
		t.Errorf("%v, %v", got, err)
	}
	fresh, err := dept.Relate(t.Context(), relate("0.02", "all_of", "paid_by"), nil)
	if err != nil || fresh.GetState() != sandgatev1.Twin_STATE_PUBLISHED {
		t.Fatalf("%v, %v", fresh, err)
	}

	// The document is gone: what would be tied is refused, and not drawn apart in silence.
	id := strings.TrimPrefix(fresh.GetName(), "relations/")
	found, err := filepath.Glob(filepath.Join(a.Dir, "*", "models", id+".document"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	if err := os.Truncate(found[0], 100); err != nil {
		t.Fatal(err)
	}
	q := query(&sandgatev1.TwinRun{Seed: "damaged"})
	q.RequestId = uuid.NewString()
	if _, err := a.Client(op).Run(t.Context(), q); attack.Reason(err) != "RELATIONS_DAMAGED" {
		t.Errorf("a damaged document: %v", err)
	}
	if _, err := a.Client(op).Relations.GetRelations(t.Context(), &sandgatev1.GetRelationsRequest{Name: fresh.GetName()}); err != nil {
		t.Errorf("what the ledger says of it: %v", err)
	}

	// What is listed since is not handed out, and ties nothing.
	a.Must(t, "kind: NegativeList\nby: "+attack.Department+"\nentries:\n  - {id: n1, provider: "+attack.Department+", dataset: all_of, columns: [district], basis: {zh: 某法第五条, en: article 5}}\n", attack.Department)
	if _, err := a.Client(op).Relations.DownloadRelations(t.Context(), &sandgatev1.DownloadRelationsRequest{Name: fresh.GetName()}); attack.Reason(err) != "NEGATIVE_LIST" {
		t.Errorf("listed since: %v", err)
	}
	if _, err := dept.Relations.RelateTwins(t.Context(), relate("0.01", "all_of", "paid_by")); attack.Reason(err) != "NEGATIVE_LIST" {
		t.Errorf("listed before: %v", err)
	}
}

// both is a licence on both tables of a town.
func both(t *testing.T, a *attack.Arena, op string) string {
	t.Helper()
	until := time.Now().AddDate(3, 0, 0).UTC()
	a.Must(t, fmt.Sprintf("kind: Licence\nid: town\noperator: %s\ntitle: {zh: 授权}\nscenario: {zh: 测试}\npurposes: [%s]\nnot_before: %s\nnot_after: %s\nresources:\n  - {dataset: all_of, columns: [age, district]}\n  - {dataset: paid_by, columns: [band, sum]}\nsecurity_terms: {zh: 沙箱}\nexit_terms: {zh: 停止}\n",
		op, attack.Purpose, until.AddDate(-4, 0, 0).Format(time.RFC3339), until.Format(time.RFC3339)), attack.Regulator, attack.Department)
	return "town"
}

// R01: relations over a table in mode exact are learned as any other; one whose rule does
// not name another is refused by that name, and so is a public one.
func TestR01_RelationsAreAllowedByAll(t *testing.T) {
	a, tables := town(t, ", whole")
	dept := a.Client(attack.Department)
	a.Add(t, people("whole", 3000, `mode: exact, exact: {k: 10, round: 5, bits_per_unit: "16"}, budget: {operator_year: "0.2", dataset_year: "1", lifetime: "1"}, twin: {rho: "0.05", relate: [all_of]}`))
	for _, id := range append(tables, "whole") {
		publish(t, a, id)
	}
	for what, x := range map[string]struct {
		code string
		req  *sandgatev1.RelateTwinsRequest
	}{
		"not named by the other":                     {"TWIN_RELATE", relate("0.01", "paid_by", "whole")},
		"three, of which two do not name each other": {"TWIN_RELATE", relate("0.01", "all_of", "paid_by", "whole")},
		"unknown":         {"TWIN_RELATE", relate("0.01", "all_of", "nowhere")},
		"above the rules": {"TWIN_RHO", relate("0.06", "all_of", "whole")},
		"one":             {"TWIN_SPEC", relate("0.01", "all_of")},
		"too small":       {"TWIN_PRICE", relate("0.0000001", "all_of", "whole")},
	} {
		if _, err := dept.Relations.RelateTwins(t.Context(), x.req); attack.Reason(err) != x.code {
			t.Errorf("%s: %v", what, err)
		}
	}
	if r, err := dept.Relate(t.Context(), relate("0.02", "all_of", "whole"), nil); err != nil || r.GetState() != sandgatev1.Twin_STATE_PUBLISHED {
		t.Errorf("with one in mode exact: %v, %v", r, err)
	}
	// A department whose data sets these are not; and who had it, has no data set any more.
	if _, err := a.Client(attack.Other).Relations.RelateTwins(t.Context(), relate("0.01", "all_of", "paid_by")); attack.Reason(err) != "DATASET_UNKNOWN" {
		t.Errorf("another department: %v", err)
	}
	// A name is looked up in everybody's turn: one that is none is refused before.
	long := strings.Repeat("x+", 1<<20)
	for _, name := range []string{"datasets/" + long, "relations/" + long, "datasets/a+b+c+d+e+f+g+h+i"} {
		if _, err := a.Client(attack.Op(0)).Relations.GetRelations(t.Context(), &sandgatev1.GetRelationsRequest{Name: name}); attack.Reason(err) != "NOT_FOUND" {
			t.Errorf("%.20s… of %d bytes: %v", name, len(name), err)
		}
	}
	if _, err := a.Client(attack.Other).Relations.GetRelations(t.Context(), &sandgatev1.GetRelationsRequest{Name: "datasets/all_of+whole"}); attack.Reason(err) == "" {
		t.Error("another department is shown relations")
	}
}
