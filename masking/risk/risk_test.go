package risk

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 }

func table(text string) [][]string {
	var out [][]string
	for line := range strings.Lines(text) {
		out = append(out, strings.Fields(line))
	}
	return out
}

// The table of the t-closeness paper (Li, Li and Venkatasubramanian, ICDE 2007):
// three classes of three people, salaries 3k to 11k. Their distances are worked
// out there: 0.375 for {3, 4, 5}, 0.167 for {6, 8, 11}.
const salaries = `476** 2* 3k gastric-ulcer
476** 2* 4k gastritis
476** 2* 5k stomach-cancer
4790* ≥40 6k gastritis
4790* ≥40 11k flu
4790* ≥40 8k bronchitis
476** 3* 7k bronchitis
476** 3* 9k pneumonia
476** 3* 10k stomach-cancer
`

func TestR20_SalariesOfTheTClosenessPaper(t *testing.T) {
	order := []string{"3k", "4k", "5k", "6k", "7k", "8k", "9k", "10k", "11k"}
	classes := Group(table(salaries), -1, []int{0, 1}, []int{2, 3})
	q := Question{Model: Enclave, Context: 0.15, Quasi: 2, Sensitive: []Sensitive{{"salary", order}, {"disease", nil}}}
	r, err := Assess(classes, q)
	if err != nil {
		t.Fatal(err)
	}
	if r.Units != 9 || r.Classes != 3 || r.K != 3 || r.Largest != 3 || r.Above != 0 || !near(r.MaxRisk, 1.0/3) || !near(r.MeanRisk, 1.0/3) || !near(r.Overall, 0.05) {
		t.Errorf("%+v", r)
	}
	salary, disease := r.Diversity[0], r.Diversity[1]
	if salary.Distinct != 3 || !near(salary.Entropy, 3) || !near(salary.T, 0.375) || salary.OneValue != 0 {
		t.Errorf("%+v", salary)
	}
	// By hand: gastric-ulcer, flu, pneumonia 1/9 each, the other three 2/9; a class
	// has three values of 1/3. First class: ulcer 2/9 + gastritis 1/9 + cancer 1/9 too
	// much. The same for the others.
	if disease.Distinct != 3 || !near(disease.T, 4.0/9) {
		t.Errorf("%+v", disease)
	}
	p := shares(map[string]int64{"6k": 1, "8k": 1, "11k": 1}, order)
	all := shares(map[string]int64{"3k": 1, "4k": 1, "5k": 1, "6k": 1, "7k": 1, "8k": 1, "9k": 1, "10k": 1, "11k": 1}, order)
	if got := distance(p, all, true); math.Abs(got-0.167) > 0.0005 {
		t.Errorf("distance of {6, 8, 11}: %v", got)
	}
}

// Worked by hand: two people alone, a pair with one value, four with entropy 2.
func TestR20_WorkedExample(t *testing.T) {
	rows := table(`u1 a x
u2 b x
u3 c x
u4 c x
u5 d x
u6 d y
u7 d x
u8 d y
u8 d y
`)
	r, err := Assess(Group(rows, 0, []int{1}, []int{2}), Question{Model: Enclave, Context: 0.1, Quasi: 1, Sensitive: []Sensitive{{"s", nil}}})
	if err != nil {
		t.Fatal(err)
	}
	// Classes of 1, 1, 2 and 4 units. The whole has six x and two y: the second row
	// of u8 says nothing new.
	d := r.Diversity[0]
	if r.Units != 8 || r.Classes != 4 || r.K != 1 || r.Largest != 4 || r.Sizes[1] != 2 || r.Sizes[2] != 1 || r.Sizes[4] != 1 ||
		r.Above != 4 || !near(r.AboveShare, 0.5) || r.MaxRisk != 1 || !near(r.MeanRisk, 0.5) || !near(r.Overall, 0.1) || r.Level != L2 || r.Within {
		t.Errorf("%+v", r)
	}
	if d.Distinct != 1 || !near(d.Entropy, 1) || d.OneValue != 4 || !near(d.T, 0.25) {
		t.Errorf("%+v", d)
	}
}

func TestR20_LevelsAndThresholds(t *testing.T) {
	of := func(sizes ...int64) []Class {
		var out []Class
		for _, s := range sizes {
			out = append(out, Class{Size: s})
		}
		return out
	}
	for name, c := range map[string]struct {
		classes []Class
		q       Question
		level   Level
		within  bool
	}{
		"public 20":            {of(20, 50), Question{Model: Public, Context: 1, Quasi: 1}, L3, true},
		"public 19":            {of(19, 50), Question{Model: Public, Context: 1, Quasi: 1}, L2, false},
		"public 19, no attack": {of(19, 50), Question{Model: Public, Context: 0, Quasi: 1}, L2, false},
		"controlled 5":         {of(5, 50), Question{Model: Controlled, Context: 0.25, Quasi: 1}, L3, true},
		"controlled 4":         {of(4, 50), Question{Model: Controlled, Context: 0.1, Quasi: 1}, L2, false},
		"overall too high":     {of(5, 50), Question{Model: Controlled, Context: 0.26, Quasi: 1}, L2, false},
		"enclave 3":            {of(3, 50), Question{Model: Enclave, Context: 0.15, Quasi: 1}, L3, true},
		"enclave 2":            {of(2, 50), Question{Model: Enclave, Context: 0.01, Quasi: 1}, L2, false},
		"direct":               {of(1000), Question{Model: Enclave, Context: 0, Quasi: 1, Direct: true}, L1, false},
		"none":                 {of(1000), Question{Model: Public, Context: 1}, L4, true},
		"none, one unit":       {of(1), Question{Model: Public, Context: 1}, L4, true},
		"empty":                {nil, Question{Model: Public, Context: 1, Quasi: 1}, L3, true},
	} {
		r, err := Assess(c.classes, c.q)
		if err != nil || r.Level != c.level || r.Within != c.within {
			t.Errorf("%s: %s %v %v", name, r.Level, r.Within, err)
		}
	}
}

func TestAssessRefuses(t *testing.T) {
	ok := Question{Model: Public, Context: 1, Quasi: 1}
	sensitive := Question{Model: Public, Context: 1, Quasi: 1, Sensitive: []Sensitive{{"s", []string{"x"}}}}
	for name, c := range map[string]struct {
		classes []Class
		q       Question
	}{
		"no model":         {nil, Question{Context: 1}},
		"context":          {nil, Question{Model: Public, Context: 1.1}},
		"context NaN":      {nil, Question{Model: Public, Context: math.NaN()}},
		"empty class":      {[]Class{{}}, ok},
		"huge class":       {[]Class{{Size: 1 << 50}}, ok},
		"values missing":   {[]Class{{Size: 1}}, sensitive},
		"no value":         {[]Class{{Size: 1, Values: []map[string]int64{{}}}}, sensitive},
		"value not listed": {[]Class{{Size: 1, Values: []map[string]int64{{"secret7": 1}}}}, sensitive},
		"more than units":  {[]Class{{Size: 1, Values: []map[string]int64{{"x": 2}}}}, sensitive},
		"no quasi":         {[]Class{{Size: 1}, {Size: 1}}, Question{Model: Public, Context: 1}},
	} {
		if _, err := Assess(c.classes, c.q); err == nil || strings.Contains(err.Error(), "secret7") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// naive computes the figures of a table straight from their definitions, row
// against row, one unit a row.
func naive(rows [][]string, quasi []int, s int) (k int, mean float64, l int, tv float64) {
	same := func(a, b []string) bool {
		return !slices.ContainsFunc(quasi, func(i int) bool { return a[i] != b[i] })
	}
	k, l = len(rows), len(rows)
	for _, a := range rows {
		size, values := 0, map[string]int{}
		for _, b := range rows {
			if same(a, b) {
				size++
				values[b[s]]++
			}
		}
		d := 0.0
		seen := map[string]bool{}
		for _, b := range rows {
			if seen[b[s]] {
				continue
			}
			seen[b[s]] = true
			whole := 0
			for _, c := range rows {
				if c[s] == b[s] {
					whole++
				}
			}
			d += math.Abs(float64(values[b[s]])/float64(size)-float64(whole)/float64(len(rows))) / 2
		}
		k, l, tv = min(k, size), min(l, len(values)), max(tv, d)
		mean += 1 / float64(size) / float64(len(rows))
	}
	return k, mean, l, tv
}

func TestAssessAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 150 {
		var rows [][]string
		for range 1 + r.IntN(60) {
			rows = append(rows, []string{fmt.Sprint(r.IntN(3)), fmt.Sprint(r.IntN(4)), fmt.Sprint(r.IntN(5))})
		}
		got, err := Assess(Group(rows, -1, []int{0, 1}, []int{2}), Question{Model: Public, Context: 1, Quasi: 2, Sensitive: []Sensitive{{"s", nil}}})
		if err != nil {
			t.Fatal(err)
		}
		k, mean, l, tv := naive(rows, []int{0, 1}, 2)
		if got.K != int64(k) || math.Abs(got.MeanRisk-mean) > 1e-9 || got.Diversity[0].Distinct != int64(l) || math.Abs(got.Diversity[0].T-tv) > 1e-9 {
			t.Fatalf("k %d %d, mean %v %v, l %d %d, t %v %v", got.K, k, got.MeanRisk, mean, got.Diversity[0].Distinct, l, got.Diversity[0].T, tv)
		}
	}
}

// TestR20_GeneralisingNeverAddsRisk on a real file of 101 766 hospital encounters,
// which the project does not ship: SANDGATE_REAL_DATA names it. Fewer or coarser
// quasi-identifiers must give classes no smaller and risks no greater.
func TestR20_GeneralisingNeverAddsRisk(t *testing.T) {
	name := os.Getenv("SANDGATE_REAL_DATA")
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		name = filepath.Join(name, "diabetes-encounters.csv.gz")
	}
	f, err := os.Open(name)
	if err != nil {
		t.Skip("REAL DATA IS MISSING, THE PROPERTY WAS NOT TESTED: name diabetes-encounters.csv.gz in SANDGATE_REAL_DATA")
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil || len(rows) < 100000 {
		t.Fatal(len(rows), err)
	}
	column := func(name string) int { return slices.Index(rows[0], name) }
	body := rows[1:]
	quasi := []int{column("race"), column("gender"), column("age"), column("time_in_hospital"), column("medical_specialty"), column("diag_1")}
	sensitive := []Sensitive{{"readmitted", nil}, {"A1Cresult", []string{"None", "Norm", ">7", ">8"}}}
	before := Report{}
	for n := len(quasi); n >= 0; n-- {
		r, err := Assess(Group(body, column("patient_nbr"), quasi[:n], []int{column("readmitted"), column("A1Cresult")}),
			Question{Model: Controlled, Context: 0.25, Quasi: n, Sensitive: sensitive})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d quasi-identifiers: %d classes, k %d, above %.4f, mean %.5f, l %d and %d, t %.3f and %.3f, %s", n, r.Classes, r.K, r.AboveShare, r.MeanRisk,
			r.Diversity[0].Distinct, r.Diversity[1].Distinct, r.Diversity[0].T, r.Diversity[1].T, r.Level)
		if n < len(quasi) && (r.K < before.K || r.MaxRisk > before.MaxRisk || r.Classes > before.Classes || r.Above > before.Above || r.MeanRisk > before.MeanRisk ||
			r.Diversity[0].Distinct < before.Diversity[0].Distinct) {
			t.Errorf("%d quasi-identifiers are riskier than %d", n, n+1)
		}
		before = r
	}
	if before.Units != 71518 || before.Level != L4 {
		t.Errorf("%d units, %s", before.Units, before.Level)
	}
}

func FuzzAssess(f *testing.F) {
	f.Add([]byte{1, 2, 3, 1, 1, 1}, 0.5)
	f.Fuzz(func(t *testing.T, data []byte, context float64) {
		var rows [][]string
		for i := 0; i+2 < len(data); i += 3 {
			rows = append(rows, []string{fmt.Sprint(data[i] % 8), fmt.Sprint(data[i+1] % 8), fmt.Sprint(data[i+2] % 4)})
		}
		r, err := Assess(Group(rows, 0, []int{1}, []int{2}), Question{Model: Enclave, Context: context, Quasi: 1, Sensitive: []Sensitive{{"s", nil}}})
		if err != nil {
			if context >= 0 && context <= 1 {
				t.Fatal(err)
			}
			return
		}
		if r.MaxRisk < 0 || r.MaxRisk > 1 || r.MeanRisk > r.MaxRisk+1e-12 || r.Diversity[0].T < 0 || r.Diversity[0].T > 1 ||
			r.Diversity[0].Entropy > float64(4)+1e-9 || r.Above > r.Units || r.Within != (r.Level == L3) {
			t.Fatalf("%+v", r)
		}
	})
}
