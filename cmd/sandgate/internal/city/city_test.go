package city

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sandgate/sandgate/masking"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func text(t testing.TB, g *City, table string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := g.Write(table, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func records(t testing.TB, g *City, table string) [][]string {
	t.Helper()
	all, err := csv.NewReader(bytes.NewReader(text(t, g, table))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all[1:]
}

// TestGoldenFiles compares a city of 160 byte by byte.
func TestGoldenFiles(t *testing.T) {
	g := New(Config{Seed: 1, Residents: 160})
	for _, info := range Tables() {
		path := filepath.Join(testdata, "golden", info.Name+".csv")
		got := text(t, g, info.Name)
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from its golden file; if the change is meant, run with -update", info.Name)
		}
	}
	files, err := filepath.Glob(filepath.Join(testdata, "golden", "*"))
	if err != nil || len(files) != len(Tables()) {
		t.Errorf("%d golden files for %d tables: %v", len(files), len(Tables()), err)
	}
}

// goldenHash is the SHA-256 of all tables of a city of 3000 with seed 42; larger
// than the golden files, so that it reaches every flaw and rare branch.
const goldenHash = "06fd92d3ba8aa4eb6a3fdf8d1d97ba5f37f2f88f215a37003600179fca75c241"

func TestGoldenHash(t *testing.T) {
	h := sha256.New()
	g := New(Config{Seed: 42, Residents: 3000})
	for _, info := range Tables() {
		h.Write(text(t, g, info.Name))
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != goldenHash {
		t.Errorf("hash %s, want %s", got, goldenHash)
	}
}

func TestSeedAndTableDecideTheBytes(t *testing.T) {
	a, b, c := New(Config{Seed: 5, Residents: 300}), New(Config{Seed: 5, Residents: 300}), New(Config{Seed: 6, Residents: 300})
	var wg sync.WaitGroup
	for _, info := range slices.Backward(Tables()) {
		want := text(t, a, info.Name)
		wg.Go(func() { // order and concurrency of tables must not matter
			if !bytes.Equal(want, text(t, b, info.Name)) {
				t.Errorf("%s: one seed, two results", info.Name)
			}
			if info.Name != "districts" && bytes.Equal(want, text(t, c, info.Name)) {
				t.Errorf("%s: two seeds, one result", info.Name)
			}
		})
	}
	wg.Wait()
}

type brokenPipe struct{ left int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	g := New(Config{Seed: 1, Residents: 4000})
	if err := g.Write("salaries", io.Discard); err == nil {
		t.Error("unknown table: no error")
	}
	for _, info := range Tables() {
		writes := 1
		if len(text(t, g, info.Name)) > 72<<10 {
			writes = 2 // the buffer is drained on the way too
		}
		for left := range writes {
			if err := g.Write(info.Name, &brokenPipe{left}); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("%s: pipe broken after %d writes gives %v", info.Name, left, err)
			}
		}
	}
}

func TestTinyCity(t *testing.T) {
	for _, n := range []int{-5, 0, 1, 2, 7} {
		g := New(Config{Seed: 3, Residents: n})
		for _, info := range Tables() {
			for _, row := range records(t, g, info.Name) {
				if len(row) != len(info.Columns) {
					t.Fatalf("%s: %d fields", info.Name, len(row))
				}
			}
		}
		if got := len(records(t, g, "population")); got != max(n, 1) {
			t.Errorf("%d residents for %d", got, n)
		}
	}
}

// TestR18_IdentifiersAreFictional: nothing generated can belong to anybody, and what
// is not spoilt on purpose passes its check.
func TestR18_IdentifiersAreFictional(t *testing.T) {
	g := New(Config{Seed: 9, Residents: 3000})
	seen := map[string]bool{}
	for _, p := range g.people {
		if masking.CitizenID(p.id) != masking.OK || !strings.HasPrefix(p.id, "2399") || seen[p.id] {
			t.Fatal("identity number is invalid, not fictional or doubled")
		}
		seen[p.id] = true
		if odd := (p.id[16]-'0')%2 == 1; odd != p.male {
			t.Fatal("serial does not match the sex")
		}
		if p.id[6:14] != strings.ReplaceAll(dateText(p.birth), "-", "") {
			t.Fatal("identity number does not match the birth date")
		}
	}
	for _, f := range g.firms {
		if masking.CreditCode(f.code) != masking.OK || f.code[2:6] != "2399" || seen[f.code] {
			t.Fatal("credit code is invalid, not fictional or doubled")
		}
		seen[f.code] = true
	}
	for _, row := range records(t, g, "population") {
		if row[6] != "" && (masking.Phone(row[6]) != masking.OK || row[6][:3] != "154") {
			t.Fatal("phone number is invalid or not fictional")
		}
	}
}

func dateText(day int) string {
	r := newRows(io.Discard, nil, newDraws(0, 0))
	r.b = r.b[:0]
	r.date(day)
	return string(r.b[:10])
}

// TestShape: size, skew, links and correlations that the demo relies on.
func TestShape(t *testing.T) {
	const n = 6000
	g := New(Config{Seed: 11, Residents: n})
	total := 0
	units := map[string]map[string]int{}
	for _, info := range Tables() {
		units[info.Name] = map[string]int{}
		for _, row := range records(t, g, info.Name) {
			units[info.Name][row[0]]++
			total++
		}
	}
	if total < 10*n || total > 125*n/10 {
		t.Errorf("%d rows for %d residents, want 10 to 12.5 each", total, n)
	}
	for table, m := range map[string]int{"social_insurance": 12, "housing_fund": 6, "visits": 12, "property": 3, "marriage": 4} {
		most := 0
		for id, k := range units[table] {
			most = max(most, k)
			if masking.CitizenID(id) == masking.OK && units["population"][id] > 1 {
				t.Errorf("%s: a unit has two population rows", table)
			}
		}
		if table == "visits" && (most <= m || most > 40) || table == "housing_fund" && most <= m {
			t.Errorf("%s: most rows of a unit %d, bound %d", table, most, m)
		}
	}
	employers := map[string]int{}
	for _, row := range records(t, g, "social_insurance") {
		if row[5] != "" {
			if units["enterprises"][row[5]] == 0 {
				employers["unknown"]++
			}
			employers[row[5]]++
		}
	}
	if employers["unknown"] > 36 { // at most the few enterprises spoilt on purpose
		t.Errorf("%d rows name an employer that is not registered", employers["unknown"])
	}
	details := map[string]int{}
	byAge := map[bool][]int{}
	for _, row := range records(t, g, "visits") {
		details[row[5]]++
	}
	single := 0
	for _, k := range details {
		if k == 1 {
			single++
		}
	}
	if details["I10"] < 100 || single < 300 {
		t.Errorf("diagnosis_detail has no long tail: head %d, %d values once", details["I10"], single)
	}
	for _, p := range g.people {
		byAge[p.age >= 60] = append(byAge[p.age >= 60], units["visits"][p.id])
	}
	if mean(byAge[true]) < 1.5*mean(byAge[false]) {
		t.Error("the old do not see doctors more often")
	}
}

func mean(v []int) float64 {
	sum := 0
	for _, x := range v {
		sum += x
	}
	return float64(sum) / float64(len(v))
}

// TestDraws: the integer normal and power functions against what they stand for.
func TestDraws(t *testing.T) {
	for _, tt := range []struct{ v, e, want int64 }{
		{1000, 0, 1000}, {1000, 65536, 2000}, {1000, -65536, 500}, {1_000_000, 32768, 1_414_213}, {1 << 40, 5 << 16, 1 << 45}, {100, -30 << 16, 0},
	} {
		if got := scale2(tt.v, tt.e); got != tt.want {
			t.Errorf("scale2(%d, %d) = %d, want %d", tt.v, tt.e, got, tt.want)
		}
	}
	d := newDraws(1, 1)
	var sum, sq float64
	const n = 200_000
	for range n {
		x := float64(d.normal()) / 65536
		sum += x
		sq += x * x
	}
	// Standard errors are 0.0022 and 0.0032; the bounds are over six of them.
	if m, v := sum/n, sq/n; m < -0.015 || m > 0.015 || v < 0.98 || v > 1.02 {
		t.Errorf("mean %v, variance %v", m, v)
	}
	counts := [3]int{}
	w := newWeighted(1, 0, 3)
	for range 40_000 {
		counts[w.pick(d)]++
	}
	if counts[1] != 0 || counts[0] < 9_300 || counts[0] > 10_700 {
		t.Errorf("weights 1:0:3 drawn as %v", counts)
	}
	for chapter := range chapters {
		seen := map[string]bool{}
		for k := range detailCodes {
			if c := detail(chapter, k); k >= len(chapters[chapter].head) {
				if seen[c] {
					t.Fatalf("chapter %d: two ranks share a code", chapter)
				}
				seen[c] = true
			}
		}
	}
}
