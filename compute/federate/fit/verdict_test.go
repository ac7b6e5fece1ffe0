package fit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/policies"
)

func attest(party string, text []byte) federate.Signed {
	return federate.Signed{Text: text, Sig: ed25519.Sign(keyOf(party), VerdictBytes(text))}
}

// tried runs a domain's gate on the final parameters, as its worker does; spoil changes
// the trial.
func tried(t *testing.T, m *Model, s model.Split, out *Outcome, spoil func(*gate.Trial)) *gate.Report {
	t.Helper()
	x, err := gate.NewTrial(m.Design(), s, out.Parameters, release.Sums)
	if err != nil {
		t.Fatal(err)
	}
	if spoil != nil {
		spoil(&x)
	}
	r, err := gate.Run(context.Background(), x, gate.Options{Attacked: 400, Canaries: 20, Workers: 2}, rand.NewChaCha8([32]byte{7}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// R02, R39: a model over domains leaves when every domain has attacked it with its own rows
// and signed a PASS, and only then. A domain whose gate fails, that is missing, whose
// verdict is forged, of another model or speaks against its own figures is named. Control:
// the same verdicts without the change make a certificate, which anybody can check again.
func TestR39_EveryDomainsGateDecides(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	m := training(t, policies.FamilyLinear, terms)
	parties := []string{"city_00", "city_01", "city_02"}
	var splits []model.Split
	for i := range parties {
		s := domain(m, 900, uint64(i))
		s.Held = people(m.Design(), 400, uint64(50+i))
		splits = append(splits, s)
	}
	_, out := play(t, m, func(s *Step) []int64 {
		total := make([]int64, s.Pass.Width)
		for _, d := range splits {
			for i, x := range sumsOf(t, m, d, s.Pass) {
				total[i] += x
			}
		}
		noised, err := release.Sums(total, s.Pass.Norm, s.Pass.Rho, release.NewSource())
		if err != nil {
			t.Fatal(err)
		}
		return noised
	})
	var good []federate.Signed
	for i, party := range parties {
		r := tried(t, m, splits[i], out, nil)
		if r.Verdict != gate.Pass {
			t.Fatalf("%s: %s %v", party, r.Verdict, r.Reasons)
		}
		text, err := m.Judge(out, party, parties, r, now)
		if err != nil {
			t.Fatal(err)
		}
		good = append(good, attest(party, text))
	}
	who := verify(VerdictBytes)
	c, err := m.Certify(out, parties, good, who)
	if err != nil {
		t.Fatal(err)
	}
	again, reports, err := ReadCertificate(c.Encode(), who)
	if err != nil || len(reports) != 3 || again.Rho != m.Training().String() {
		t.Fatalf("the certificate is not read again: %v", err)
	}

	failing := tried(t, m, splits[1], out, func(x *gate.Trial) {
		x.Structure.Constants = append(x.Structure.Constants, gate.Constant{Feature: 0, Number: 123456})
	})
	if failing.Verdict == gate.Pass {
		t.Fatal("control: a model with a foreign constant passes")
	}
	fails, err := m.Judge(out, parties[1], parties, failing, now)
	if err != nil {
		t.Fatal(err)
	}
	other := *out
	other.Digest = strings.Repeat("a", 64)
	elsewhere, err := m.Judge(&other, parties[1], parties, reports[1], now)
	if err != nil {
		t.Fatal(err)
	}
	passed, err := failing.Encode()
	if err != nil {
		t.Fatal(err)
	}
	lie, err := decode[Verdict](fails)
	if err != nil {
		t.Fatal(err)
	}
	lie.Report = bytes.Replace(passed, []byte(`"verdict":"FAIL"`), []byte(`"verdict":"PASS"`), 1)
	if bytes.Equal(lie.Report, passed) {
		t.Fatal("control: the report was not changed")
	}
	wrong, err := decode[Verdict](good[1].Text)
	if err != nil {
		t.Fatal(err)
	}
	cheap := *reports[1]
	cheap.Features++
	if wrong.Report, err = cheap.Encode(); err != nil {
		t.Fatal(err)
	}
	replace := func(s federate.Signed) []federate.Signed { x := slices.Clone(good); x[1] = s; return x }
	for name, verdicts := range map[string][]federate.Signed{
		"a failing gate":           replace(attest(parties[1], fails)),
		"a missing verdict":        good[:1],
		"another's signature":      replace(attest(parties[2], good[1].Text)),
		"another's verdict":        replace(good[2]),
		"of another model":         replace(attest(parties[1], elsewhere)),
		"against its figures":      replace(attest(parties[1], encode(lie))),
		"a report on other inputs": replace(attest(parties[1], encode(wrong))),
	} {
		_, err := m.Certify(out, parties, verdicts, who)
		var r *policies.Reason
		if !errors.As(err, &r) || r.Code != CodeVerdict || r.SetBy != parties[1] || !strings.Contains(r.EN, parties[1]) || !strings.Contains(r.ZH, parties[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := m.Certify(out, parties, append(slices.Clone(good), good[0]), who); err == nil {
		t.Error("one verdict too many")
	}
	if _, err := m.Certify(out, []string{parties[1], parties[0], parties[2]}, good, who); err == nil {
		t.Error("contributors out of order")
	}
	short := *c
	short.Contributors, short.Verdicts = short.Contributors[:2], short.Verdicts[:2]
	if _, _, err := ReadCertificate(short.Encode(), who); err == nil {
		t.Error("a certificate of two domains")
	}
	if _, err := m.Judge(out, parties[0], parties, &cheap, now); err == nil {
		t.Error("a domain signs a report of another model")
	}

	// What a hub says on the certificate is what every domain signed: it can leave nobody out,
	// nor put another run, price or overlap there. Each contributor alone would notice.
	if why := again.About(out.Parameters, reports); why != nil {
		t.Fatalf("control: file and certificate do not fit: %v", why)
	}
	four := append(slices.Clone(parties), "city_03")
	var dropped []federate.Signed
	for i, party := range parties {
		text, err := m.Judge(out, party, four, reports[i], now)
		if err != nil {
			t.Fatal(err)
		}
		dropped = append(dropped, attest(party, text))
	}
	without := *c
	without.Verdicts = dropped
	var r *policies.Reason
	if _, _, err := ReadCertificate(without.Encode(), who); !errors.As(err, &r) || r.SetBy != parties[0] || !strings.Contains(r.EN, "contributors that it signed") {
		t.Errorf("a certificate without city_03, which three domains signed as a contributor: %v", err)
	}
	if _, err := m.Certify(out, parties, dropped, who); err == nil {
		t.Error("certified without city_03")
	}
	for name, change := range map[string]func(*Certificate){
		"of another run":          func(c *Certificate) { c.Run = strings.Repeat("7", 32) },
		"at a lower price":        func(c *Certificate) { c.Rho = "0.000000001" },
		"with cheaper figures":    func(c *Certificate) { c.RhoEvaluation = "0.000000001" },
		"of people in one domain": func(c *Certificate) { c.Overlap++ },
	} {
		x := *c
		change(&x)
		if _, _, err := ReadCertificate(x.Encode(), who); !errors.As(err, &r) || r.Code != CodeVerdict || r.SetBy != parties[0] {
			t.Errorf("a certificate %s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Verdict){
		"another run":        func(v *Verdict) { v.Run = strings.Repeat("7", 32) },
		"fewer contributors": func(v *Verdict) { v.Contributors = four },
		"a lower price":      func(v *Verdict) { v.Rho = "0.000000001" },
		"cheaper figures":    func(v *Verdict) { v.RhoEvaluation = "0.000000001" },
		"another overlap":    func(v *Verdict) { v.Overlap++ },
	} {
		v, err := decode[Verdict](good[1].Text)
		if err != nil {
			t.Fatal(err)
		}
		change(v)
		x := *c
		x.Verdicts = replace(attest(parties[1], encode(v)))
		if _, _, err := ReadCertificate(x.Encode(), who); !errors.As(err, &r) || r.SetBy != parties[1] {
			t.Errorf("one domain signed %s: %v", name, err)
		}
		if _, err := m.Reads(encode(v)); (err == nil) != (name == "fewer contributors") {
			t.Errorf("%s is read as of this training: %v", name, err)
		}
	}
	// A report at a price of its own would be held to weaker marks than this model's.
	dear := *reports[2]
	dear.Rho++
	if why := again.About(out.Parameters, []*gate.Report{reports[0], reports[1], &dear}); why == nil || why.SetBy != parties[2] {
		t.Errorf("a report at another price: %v", why)
	}
	if why := again.About(out.Parameters, []*gate.Report{reports[0], &cheap, reports[2]}); why == nil || why.SetBy != parties[1] {
		t.Errorf("a report on other inputs: %v", why)
	}
	cheaper := *out.Parameters
	cheaper.Rho = "0.000000001"
	if why := again.About(&cheaper, reports); why == nil {
		t.Error("a file at another price")
	}
	for _, bad := range [][]string{{parties[1], parties[0], parties[2]}, parties[:2], {"city_01", "city_02", "city_03"}} {
		if _, err := m.Judge(out, parties[0], bad, reports[0], now); err == nil {
			t.Errorf("a verdict for contributors %v", bad)
		}
	}
}

// R39: a training whose answers could not travel is refused before anything is paid.
// Control: with fewer codes it is made.
func TestR39_AnswersFitTheBrief(t *testing.T) {
	for codes, fits := range map[int]bool{20: true, 160: false} {
		e, s := clinic(), spec(policies.FamilyLinear)
		for i := range 3 {
			c := policies.Column{Name: fmt.Sprintf("wide%d", i), Type: algebra.Text}
			for n := range codes {
				c.Codes = append(c.Codes, policies.Code{Value: fmt.Sprintf("v%d", n)})
			}
			e.Dataset.Columns = append(e.Dataset.Columns, c)
			s.Features = append(s.Features, policies.ModelFeature{Column: c.Name})
		}
		_, err := New(design(t, s, e), terms, run)
		var r *policies.Reason
		if fits && err != nil || !fits && (!errors.As(err, &r) || r.Code != CodeTerms || !strings.Contains(r.EN, "brief")) {
			t.Errorf("%d codes a column: %v", codes, err)
		}
	}
}
