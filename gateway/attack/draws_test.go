package attack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/internal/leak"
)

// Thousands of cells with and without one unit more, through the API: no ε above
// the price is proved by them, and they have the distribution they are said to have.
func TestAttack11_AuditThroughTheAPI(t *testing.T) {
	a := Shared(t)
	const cells, base, price, sigma2, delta = 4000, 14, 125_000_000, 4, 0.01
	var csv strings.Builder
	csv.WriteString("id,grp,part,fee\n")
	for g := range cells {
		for i := range base + g%2 {
			fmt.Fprintf(&csv, "%d-%d,%d,%d,%d.%02d\n", g, i, g/4, g%4, i*31, g%100)
		}
	}
	a.Add(t, Table{ID: "audited", Rule: `budget: {query_max: "0.125", operator_year: "1.05", dataset_year: "1.05", lifetime: "1.05"}`, CSV: csv.String(),
		Columns: []Column{column("grp", 0, cells/4-1, "key"), column("part", 0, 3, "key"), {Name: "fee", YAML: `type: decimal, scale: 2, bounds: {lo: "0", hi: "1000.00"}`, Uses: "measure, filter"}}})
	var with, without []float64
	const w = 40
	counts := make([]int, 2*w+1)
	asked := Trials(4, 7)
	for q := range asked {
		r := a.MustRun(t, Op(0), "audited", fmt.Sprintf("SELECT grp, part, COUNT(*) AS n FROM audited WHERE fee <> 999.%02d GROUP BY grp, part", q), price)
		if len(r.GetRows()) != cells {
			t.Fatalf("%d of %d cells are answered", len(r.GetRows()), cells)
		}
		for _, row := range r.GetRows() {
			c := row.GetCells()
			g, x := 4*int(number(t, c[0].GetValue()))+int(number(t, c[1].GetValue())), number(t, c[2].GetValue())
			if x != math.Trunc(x) {
				t.Fatalf("a count of %v", x)
			}
			if g%2 == 1 {
				with = append(with, x)
			} else {
				without = append(without, x)
			}
			counts[max(0, min(2*w, int(x)-base-g%2+w))]++
		}
	}
	claimed, err := budget.Epsilon(price, delta)
	if err != nil {
		t.Fatal(err)
	}
	proved := leak.EpsilonLowerBound(with, without, delta)
	if proved < claimed/5 {
		t.Errorf("the audit proves only %.3f of %.3f: too weak to mean anything", proved, claimed)
	}
	// Control: the kernel's noise at half the σ, said to cost the same.
	plan := countPlan(t, 4*price)
	x, y := make([]float64, len(with)), make([]float64, len(with))
	for i := range x {
		x[i], y[i] = draw(t, plan, base+1), draw(t, plan, base)
	}
	caught := leak.EpsilonLowerBound(x, y, delta)
	Record(t, Score{Attack: "11 distinguishing audit through the API", Figure: fmt.Sprintf("ε ≥ %.2f proved", proved), Bound: fmt.Sprintf("%.2f", claimed), Control: fmt.Sprintf("half the σ: ε ≥ %.2f", caught),
		Pass: proved <= claimed && caught > claimed, Trials: 2 * len(with)})
	p, off := leak.ChiSquare(counts, leak.GaussianPMF(sigma2, w)), leak.ChiSquare(counts, leak.GaussianPMF(sigma2*1.15, w))
	Record(t, Score{Attack: "12 released counts against the discrete Gaussian", Figure: fmt.Sprintf("p = %.2g", p), Bound: "p > 1e-6", Control: fmt.Sprintf("variance 15 %% off: p = %.1g", off), Pass: p > 1e-6 && off < 1e-6, Trials: asked * cells})
	// Sums stand on the lattice of minimal units, no coarser and no finer.
	r := a.MustRun(t, Op(0), "audited", "SELECT grp, part, SUM(fee) AS s FROM audited GROUP BY grp, part", price)
	fine := regexp.MustCompile(`^-?[0-9]+\.[0-9]{2}$`)
	residue, even, bad := make([]int, 16), make([]float64, 16), 0
	for _, row := range r.GetRows() {
		v := row.GetCells()[2].GetValue()
		if !fine.MatchString(v) {
			bad++
			continue
		}
		cents := int64(number(t, strings.Replace(v, ".", "", 1)))
		residue[((cents%16)+16)%16]++
	}
	for i := range even {
		even[i] = 1.0 / 16
	}
	coarse := make([]int, 16)
	for i, n := range residue {
		coarse[i/4*4] += n
	}
	p, off = leak.ChiSquare(residue, even), leak.ChiSquare(coarse, even)
	Record(t, Score{Attack: "12 released sums on their lattice", Figure: fmt.Sprintf("%d off it, p = %.2g", bad, p), Bound: "0, p > 1e-6", Control: fmt.Sprintf("a lattice of 4: p = %.1g", off), Pass: bad == 0 && p > 1e-6 && off < 1e-6, Trials: cells})
}

// words are switches and settings that could make noise repeat.
var words = regexp.MustCompile(`(?i)\bseed|deterministic|reproducib|--?(no-?noise|noise|random|epsilon|debug|insecure|unsafe)\b`)

// rowsSeed is the one flag by which rows of a twin are chosen for a rehearsal.
var rowsSeed = regexp.MustCompile(`(?m)^ *--seed string .* seed of the synthetic rows$`)

// The program has no seed: no flag says so, and two copies of one gateway, started
// with every setting that might fix a generator, answer one question with
// different noise.
func TestAttack12_NoSeed(t *testing.T) {
	if Binary() == "" {
		t.Skip("no SANDGATE_BIN: this attack needs the real program")
	}
	help := func(args ...string) string {
		out, err := exec.Command(Binary(), append(args, "--help")...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return string(out)
	}
	// Every command and sub-command, as the program lists them.
	listed := regexp.MustCompile(`(?m)^  ([a-z][a-z-]+) {2,}\S`)
	read, found := 0, []string{}
	var walk func(args ...string)
	walk = func(args ...string) {
		text := help(args...)
		read++
		// demo invents its city's residents from a seed, and a published twin its rows: that
		// is data, not noise.
		if len(args) == 0 || args[0] != "demo" && args[0] != "twin" {
			found = append(found, words.FindAllString(rowsSeed.ReplaceAllString(text, ""), -1)...)
		}
		for _, m := range listed.FindAllStringSubmatch(text, -1) {
			if m[1] != "help" && m[1] != "completion" && len(args) < 3 {
				walk(append(slices.Clone(args), m[1])...)
			}
		}
	}
	walk()
	if read < 8 {
		t.Errorf("only %d commands were found", read)
	}
	dir := t.TempDir()
	a, err := New(dir, gateway.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const cells = 400
	var csv strings.Builder
	csv.WriteString("id,grp\n")
	for i := range cells * 3 {
		fmt.Fprintf(&csv, "u%d,%d\n", i, i%cells)
	}
	a.Add(t, Table{ID: "seedless", Columns: []Column{column("grp", 0, cells-1, "key, filter")}, CSV: csv.String()})
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	env := []string{"SEED=7", "SANDGATE_SEED=7", "SANDGATE_NOISE=0", "SANDGATE_TEST=1", "RANDOM_SEED=7", "GODEBUG=randautoseed=0,randseednop=0", "PYTHONHASHSEED=0", "SOURCE_DATE_EPOCH=1"}
	var answers []string
	for i := range 2 {
		copied := filepath.Join(dir, fmt.Sprint("copy", i))
		if out, err := exec.Command("cp", "-a", a.Home.Dir, copied).CombinedOutput(); err != nil {
			t.Fatalf("failed to copy the home: %v: %s", err, out)
		}
		b := &Arena{Dir: dir, Keys: a.Keys, Logs: &Logs{}, sign: a.sign, clients: map[string]*client.Client{}}
		if b.Home, err = home.Open(copied); err != nil {
			t.Fatal(err)
		}
		if err := b.launch(gateway.Options{}, env...); err != nil {
			t.Fatal(err)
		}
		r := b.MustRun(t, Op(0), "seedless", "SELECT grp, COUNT(*) AS n FROM seedless GROUP BY grp", 4_400_000)
		answers = append(answers, fmt.Sprint(byKey(t, r, cells)))
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	}
	// Control: a generator with a seed gives the same twice.
	seeded := func() float64 { return rand.New(rand.NewPCG(7, 7)).NormFloat64() }
	same := 0
	if answers[0] == answers[1] {
		same = 1
	}
	Record(t, Score{Attack: "12 no seed in the program", Figure: fmt.Sprintf("%d switch(es) in %d commands, %d answer(s) repeated", len(found), read, same), Bound: "0, 0",
		Control: fmt.Sprintf("a seeded generator repeats: %v", seeded() == seeded()), Pass: len(found) == 0 && same == 0, Trials: cells, Note: strings.Join(found, " ")})
}
