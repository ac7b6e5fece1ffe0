package attack

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	grpccodes "google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
)

// clever is one way of the language to get at a single unit: sql takes a number
// that makes another question of it, score reads how much a row speaks for the
// target's presence in its group.
type clever struct {
	name, sql string
	score     func(v map[string]float64, text map[string]string) float64
}

func column1(v map[string]float64, _ map[string]string) float64 { return v["s"] }

var cleverQueries = []clever{
	{"02 FILTER against FILTER in one question", "SELECT grp, COUNT(*) FILTER (WHERE role IN ('t', 'o')) AS s, COUNT(*) FILTER (WHERE role = 'o') AS m FROM lang WHERE age <> %d GROUP BY grp",
		func(v map[string]float64, _ map[string]string) float64 { return v["s"] - v["m"] }},
	{"02 CASE inside a sum", "SELECT grp, SUM(CASE WHEN role = 't' THEN fee ELSE 0 END) AS s FROM lang WHERE age <> %d GROUP BY grp", column1},
	{"07 labels of CASE as a channel", "SELECT grp, CASE WHEN role = 't' THEN 'T' ELSE 'O' END AS lab, COUNT(*) AS s FROM lang WHERE age <> %d GROUP BY grp, lab",
		func(v map[string]float64, text map[string]string) float64 {
			if text["lab"] != "T" {
				return 0
			}
			return 1e6 + v["s"] // that the label is there at all would tell everything
		}},
	{"02 totals against parts", "SELECT grp, role, COUNT(*) AS s FROM lang WHERE age <> %d GROUP BY GROUPING SETS ((grp, role), (grp))",
		func(v map[string]float64, text map[string]string) float64 {
			switch text["role"] {
			case "o":
				return -v["s"]
			case "t":
				return 0
			}
			return v["s"]
		}},
	{"02 one row counted eight times", "SELECT grp, COUNT(*) AS s FROM (" + strings.Repeat("SELECT grp, role, age FROM lang UNION ALL ", 7) + "SELECT grp, role, age FROM lang) v WHERE role = 't' AND age <> %d GROUP BY grp", column1},
	{"07 a value made a thousand times larger", "SELECT grp, SUM(fee * 1000) AS s FROM lang WHERE role = 't' AND age <> %d GROUP BY grp", column1},
	{"07 a maximum under a tiny filter", "SELECT grp, MAX(fee) AS s FROM lang WHERE role = 't' AND age <> %d GROUP BY grp", column1},
	{"07 a median under a tiny filter", "SELECT grp, MEDIAN(fee) AS s FROM lang WHERE role = 't' AND age <> %d GROUP BY grp", column1},
	{"07 a variance over few", "SELECT grp, VAR_SAMP(fee) AS s FROM lang WHERE age <> %d GROUP BY grp", column1},
	{"04 values per unit isolate one", "WITH u AS (SELECT id, MAX(grp) AS g, COUNT(*) AS c FROM lang WHERE role = 't' AND age <> %d GROUP BY id) SELECT g AS grp, COUNT(*) AS s FROM u WHERE c >= 1 GROUP BY grp", column1},
	{"04 a private join isolates one", "SELECT p.grp, SUM(u.c) AS s FROM lang p LEFT JOIN (SELECT id, COUNT(*) AS c FROM lang WHERE role = 't' AND age <> %d GROUP BY id) u ON p.id = u.id GROUP BY p.grp", column1},
	{"02 two conditions in one count", "SELECT grp, COUNT(*) AS s FROM lang WHERE (role = 't' AND fee >= 500 OR role = 'x') AND age <> %d GROUP BY grp", column1},
}

// Every construct that could single a unit out is either refused before data, or
// tells no more than its price.
func TestAttack02_LanguageSinglesNobodyOut(t *testing.T) {
	a := Shared(t)
	rng := rand.New(rand.NewPCG(2, 12))
	groups, draws := Trials(100, 800), Trials(2, 5)
	present := make([]bool, groups)
	var csv strings.Builder
	csv.WriteString("id,grp,role,fee,age\n")
	for g := range groups {
		present[g] = rng.IntN(2) == 0
		if present[g] {
			fmt.Fprintf(&csv, "t%d,%d,t,1000,40\n", g, g)
		}
		for i := range crowd {
			fmt.Fprintf(&csv, "o%d-%d,%d,o,%d,%d\n", g, i, g, rng.IntN(20), 20+i%40)
		}
	}
	a.Add(t, Table{ID: "lang", CSV: csv.String(), Columns: []Column{column("grp", 0, groups-1, "key, filter, measure"), codes("role", "key, filter", "t", "o", "x"),
		{Name: "fee", YAML: `type: int, bounds: {lo: "0", hi: "1000"}, grid: {from: "0", to: "1000", step: "100"}`, Uses: "measure, filter"}, column("age", 0, 9000, "filter")}})
	refused, answered := 0, 0
	var names []string
	for i, c := range cleverQueries {
		score, price := make([]float64, groups), int64(0)
		no := error(nil)
		for d := range draws {
			before, _ := a.Spent(t, Op(i%Operators), "lang", "lifetime")
			r, err := a.Run(Op(i%Operators), "lang", fmt.Sprintf(c.sql, 1000+10*i+d), 4_400_000)
			after, _ := a.Spent(t, Op(i%Operators), "lang", "lifetime")
			if err != nil {
				no = err
				if code := status.Code(err); after != before || !slices.Contains([]grpccodes.Code{grpccodes.InvalidArgument, grpccodes.PermissionDenied}, code) {
					t.Errorf("%s: refused with %v at %d nano-ρ", c.name, err, after-before)
				}
				break
			}
			if after-before != r.GetPriceNanoRho() {
				t.Errorf("%s: paid %d, %d was debited", c.name, r.GetPriceNanoRho(), after-before)
			}
			price += r.GetPriceNanoRho()
			addScores(t, r, score, c)
		}
		if no != nil {
			refused++
			names = append(names, c.name+" ("+Reason(no)+")")
			continue
		}
		answered++
		for g := range score {
			score[g] += rng.Float64() * 1e-6 // ties by lot
		}
		got := split(score, present)
		// Eleven questions are held against it in every run of the suite: at three standard
		// errors one run in seventy would fail by chance alone.
		bound := guessRate(price) + 4*0.5/math.Sqrt(float64(groups))
		// Control: exact answers to these questions differ where the target is, and only there.
		Record(t, Score{Attack: c.name, Figure: round3(got), Bound: fmt.Sprintf("%.3f", bound), Control: 1.0, Pass: got <= bound, Trials: groups})
	}
	if answered < 11 {
		t.Errorf("only %d of %d questions were answered: the attack proves little", answered, len(cleverQueries))
	}
	Record(t, Score{Attack: "02 constructs refused before data", Figure: fmt.Sprintf("%d refused, free of charge; %d answered, above", refused, answered), Bound: "no charge, no data", Control: "those answered are charged", Pass: !t.Failed(), Trials: len(cleverQueries), Note: strings.Join(names, "; ")})
}

func addScores(t testing.TB, r *sandgatev1.Release, score []float64, c clever) {
	t.Helper()
	for _, row := range r.GetRows() {
		v, text, grp := map[string]float64{}, map[string]string{}, -1
		for i, x := range row.GetCells() {
			name := r.GetColumns()[i].GetName()
			text[name] = x.GetValue()
			switch {
			case name == "grp" && x.GetValue() != "":
				grp = int(number(t, x.GetValue()))
			case !r.GetColumns()[i].GetKey() && x.GetWithheld() == "" && x.GetValue() != "":
				v[name] = number(t, x.GetValue())
			}
		}
		if grp >= 0 && grp < len(score) {
			score[grp] += c.score(v, text)
		}
	}
}

// Work on released values reaches neither rows, nor another operator's releases,
// nor anything beside them.
func TestAttack08_PostProcessingReachesNothingElse(t *testing.T) {
	a := Shared(t)
	a.Add(t, noted("posted", 600, "NoTe4711"))
	r := a.MustRun(t, Op(0), "posted", "SELECT age, COUNT(*) AS n FROM posted GROUP BY age", 0)
	job := strings.TrimPrefix(strings.TrimSuffix(r.GetName(), "/releases/1"), "jobs/")
	const core = "(SELECT age, COUNT(*) AS n FROM posted GROUP BY age)"
	texts := []string{
		"SELECT p.age FROM posted p JOIN " + core + " c ON p.age = c.age",
		"WITH c AS " + core + " SELECT c.n, p.note FROM c, posted p",
		"SELECT n, (SELECT MAX(age) FROM posted) AS m FROM " + core + " c",
		"SELECT n FROM " + core + " c WHERE EXISTS (SELECT 1 FROM posted p WHERE p.age = c.age AND p.note = 'NoTe4711')",
		"SELECT * FROM " + core + " c, d0.main.t", "SELECT * FROM " + core + " c, main.t", "SELECT * FROM " + core + " c CROSS JOIN t0",
		"SELECT * FROM " + core + " c, information_schema.tables", "SELECT * FROM " + core + " c, duckdb_tables()", "SELECT * FROM " + core + " c, sqlite_master",
		"SELECT c.n, f.content FROM " + core + " c, read_text('/etc/passwd') f", "SELECT * FROM " + core + " c, read_csv('/proc/self/environ')", "SELECT * FROM " + core + " c, glob('/*')",
		"SELECT n, getenv('HOME') AS h FROM " + core + " c", "SELECT n, current_setting('home_directory') AS h FROM " + core + " c", "SELECT n, query('SELECT 1') FROM " + core + " c",
		"SELECT * FROM query_table('posted')", "SELECT * FROM " + core + " c, pragma_database_list()", "SELECT n, error(n::VARCHAR) FROM " + core + " c",
		"SELECT COLUMNS(*) FROM posted", "SELECT unnest(list(note)) FROM posted", "SELECT histogram(note) FROM posted", "SELECT n, random() FROM " + core + " c",
		"COPY (SELECT * FROM posted) TO '/tmp/x'", "ATTACH '/tmp/x' AS y", "EXPORT DATABASE '/tmp/x'", "PRAGMA database_list",
	}
	// Another operator's release, by its name and by guesses.
	theirs := []string{`SELECT * FROM releases."` + job + `"`, `SELECT c.n, r.n FROM ` + core + ` c JOIN releases."` + job + `" r USING (age)`}
	spent, _ := a.Spent(t, Op(1), "posted", "lifetime")
	through := 0
	var said []string
	for i, sql := range slices.Concat(texts, theirs) {
		op := Op(1)
		if i < len(texts) {
			op = Op(0)
		}
		if rel, err := a.Run(op, "posted", sql, 0); err == nil {
			through++
			said = append(said, fmt.Sprintf("%s: %d rows", sql, len(rel.GetRows())))
			t.Errorf("answered: %s", sql)
		} else if text := err.Error(); strings.Contains(text, "NoTe4711") {
			through++
			t.Errorf("%s: the refusal speaks of data: %v", sql, err)
		}
	}
	after, _ := a.Spent(t, Op(1), "posted", "lifetime")
	Record(t, Score{Attack: "08 post-processing towards rows, files and others' releases", Figure: fmt.Sprintf("%d through, %d nano-ρ charged", through, after-spent), Bound: "0, 0", Control: "the core alone is answered", Pass: through == 0 && after == spent, Trials: len(texts) + len(theirs), Note: strings.Join(said, "; ")})
}
