package gate

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"sync"
	"testing"
)

var sampled = sync.OnceValue(func() []byte {
	var t testing.T
	b, err := run(&t, trial(&t, 600, 2, 24_400_000, 6), Options{Attacked: 200}, 1).Encode()
	if err != nil {
		panic(err)
	}
	return b
})

// sampleReport is the report of a small run, once for all tests.
func sampleReport(t testing.TB) *Report {
	t.Helper()
	r, err := Load(sampled())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestR02_ReportCannotBeTalkedInto(t *testing.T) {
	good := string(sampled())
	if r := sampleReport(t); r.Verdict != Pass {
		show(t, r)
		t.Fatal(r.Verdict)
	}
	for name, edit := range map[string]func(r *Report){
		"a figure that fails":      func(r *Report) { r.Attacks[2].Figures[0].Hi = "0.560" },
		"another mark":             func(r *Report) { r.Attacks[2].Figures[0].Hi, r.Attacks[2].Figures[0].MostHi = "0.560", "0.600" },
		"no mark":                  func(r *Report) { r.Attacks[4].Figures[0].Most = "" },
		"a figure less":            func(r *Report) { r.Attacks[2].Figures = r.Attacks[2].Figures[1:] },
		"a figure more":            func(r *Report) { r.Attacks[1].Figures = append(r.Attacks[1].Figures, r.Attacks[1].Figures[0]) },
		"an attack less":           func(r *Report) { r.Attacks = r.Attacks[:7] },
		"no attack":                func(r *Report) { r.Attacks = nil },
		"attacks in another order": func(r *Report) { r.Attacks[0], r.Attacks[1] = r.Attacks[1], r.Attacks[0] },
		"an attack skipped": func(r *Report) {
			r.Skipped, r.Attacks = []string{CodeMembership}, append(r.Attacks[:2:2], r.Attacks[3:]...)
		},
		"few shadows":               func(r *Report) { r.Shadows = 8 },
		"a control that passes":     func(r *Report) { r.Attacks[2].Control = r.Attacks[2].Figures },
		"no control":                func(r *Report) { r.Attacks[2].Control = nil },
		"a lower epsilon":           func(r *Report) { r.Epsilon = "0.500" },
		"a price without privacy":   func(r *Report) { r.Private = false },
		"another version":           func(r *Report) { r.Version = 3 },
		"a verdict of its own":      func(r *Report) { r.Verdict = "OK" },
		"a number in words":         func(r *Report) { r.Attacks[2].Figures[1].Value = "0.5" },
		"an exponent":               func(r *Report) { r.Attacks[2].Figures[0].Hi = "5e-1" },
		"a reason that is not due":  func(r *Report) { r.Reasons = append(r.Reasons, missed(CodeFamily)) },
		"a refused family":          func(r *Report) { r.Family = "svm" },
		"a bare release":            func(r *Report) { r.Private, r.Rho, r.Epsilon = false, 0, "0.000" },
		"another epsilon":           func(r *Report) { r.Attacks[0].Figures[2].Value = "0.100" },
		"units below zero":          func(r *Report) { r.Units = -1 },
		"a column where none is":    func(r *Report) { r.Attacks[2].Figures[0].Column = "x" },
		"a point that is no number": func(r *Report) { r.ROC[0].TPR = "x" },
	} {
		r := sampleReport(t)
		edit(r)
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Load(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := r.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "null": "null", "a list": "[]", "more behind": good + "{}", "a space": good + " ", "indented": " " + good,
		"an unknown field": strings.Replace(good, `{"version"`, `{"note":"x","version"`, 1), "a field twice": strings.Replace(good, `{"version":2`, `{"version":2,"version":2`, 1),
		"another case": strings.Replace(good, `"verdict"`, `"Verdict"`, 1), "cut": good[:len(good)/2],
	} {
		if _, err := Load([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzLoad(f *testing.F) {
	good := sampled()
	f.Add(good)
	f.Add([]byte(`{"version":1,"verdict":"PASS"}`))
	f.Add([]byte(strings.Replace(string(good), "0.550", "9.550", 1)))
	f.Add([]byte("{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Load(b)
		if err != nil {
			return
		}
		again, err := r.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("what was read is written otherwise: %v", err)
		}
		for _, a := range r.Attacks {
			if r.Verdict == Pass && (!a.Passes() || !a.Caught()) {
				t.Fatalf("PASS with %s", a.Code)
			}
		}
	})
}

func TestDecimals(t *testing.T) {
	for x, want := range map[float64]string{0: "0.000", -0.0004: "0.000", 0.0005: "0.001", -1.5: "-1.500", 1e300: "999999.999", 0.55: "0.550"} {
		if got := places3(x); got != want || !decimal.MatchString(got) {
			t.Errorf("%g is written %s", x, got)
		}
	}
	if floor3(0.0209) != "0.020" || ceil3(0.0201) != "0.021" || floor3(-0.0001) != "-0.001" || ceil3(0.02) != "0.020" || places3(math.NaN()) != "999999.999" {
		t.Error("rounding goes the wrong way")
	}
	for n, want := range map[int]int{0: 0, 7: 7, 99: 99, 107: 100, 16_234: 16_000, 4000: 4000} {
		if got := about(n); got != want {
			t.Errorf("about %d is %d", n, got)
		}
	}
}
