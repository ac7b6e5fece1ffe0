package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

func seed(n uint64) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}) }

// trial of a logistic model on an invented city.
func trial(t testing.TB, units, features int, rho budget.Nano, n uint64) Trial {
	t.Helper()
	design, data := city(units, features, n)
	x := Trial{Design: design, Data: data, Members: apart(units, 20, n), Rho: rho}
	x.Train = trainLogistic(design, 15, 4, 1e-2, 1, rho)
	if rho > 0 {
		x.Design.Spec.Private, x.Design.Spec.Release = true, policies.ReleaseParameters
	}
	m, err := x.Train(context.Background(), x.Members, data, seed(n))
	if err != nil {
		t.Fatal(err)
	}
	x.Target = m
	x.Structure = Structure{Family: policies.FamilyLogistic, Parameters: width(design)}
	return x
}

func run(t testing.TB, x Trial, opt Options, n uint64) *Report {
	t.Helper()
	r, err := Run(context.Background(), x, opt, seed(n), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func codes(r *Report) (out []string) {
	for _, x := range r.Reasons {
		out = append(out, x.Code)
	}
	return out
}

func show(t testing.TB, r *Report) {
	t.Helper()
	for _, f := range r.Attacks {
		for i, x := range f.Figures {
			t.Logf("%v %-16s %-24s %-8s %-3s %8s [%s, %s] marks %q %q %q; control %s", x.Passes(), f.Code, x.Name, x.Of, x.Column, x.Value, x.Lo, x.Hi, x.Most, x.MostLo, x.MostHi, f.Control[min(i, len(f.Control)-1)].Value)
		}
	}
	for _, x := range r.Reasons {
		t.Log(x.Text("zh"), x.Text("en"))
	}
}

// A private model passes, every attack catches the control, and the run is repeatable
// whatever the number of workers.
func TestR02_PrivateModelPassesRepeatably(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	x := trial(t, 700, 2, 24_400_000, 1)
	stages := map[string]bool{}
	r, err := Run(context.Background(), x, Options{Workers: 1}, seed(5), func(s string, done, total int) {
		if done < 0 || done > total {
			t.Errorf("%s: %d of %d", s, done, total)
		}
		stages[s] = true
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != Pass {
		show(t, r)
		t.Fatalf("a private model: %s", r.Verdict)
	}
	for _, f := range r.Attacks {
		if !f.Caught() {
			t.Errorf("%s does not catch the model that memorises", f.Code)
		}
	}
	for _, s := range []string{"membership", "inversion", "attributes", "canaries", "control: membership", "control: inversion"} {
		if !stages[s] {
			t.Errorf("no progress of stage %q", s)
		}
	}
	first, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	second, err := run(t, x, Options{Workers: 3}, 5).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Errorf("two runs from one seed differ:\n%s\n%s", first, second)
	}
	if third, _ := run(t, x, Options{Workers: 3}, 6).Encode(); bytes.Equal(first, third) {
		t.Error("another seed draws the same")
	}
}

// What each attack is for: a model that fails it, and nothing before it excuses it.
func TestR02_EachAttackRefusesItsModel(t *testing.T) {
	plain := trial(t, 1000, 3, 0, 2)
	memory := control(plain)
	for _, c := range []struct {
		name string
		edit func(*Trial)
		want []string
	}{
		{"memorises its rows", func(x *Trial) {
			*x = memory
			x.Structure.Family = policies.FamilyLogistic
		}, []string{CodeStructure, CodeMembership, CodeWorstCase, CodeCanary, CodeAttribute, CodeInversion, CodeInstance}},
		{"family that keeps records", func(x *Trial) { x.Structure.Family = "svm" }, []string{CodeFamily}},
		{"another family than declared", func(x *Trial) { x.Structure.Family = policies.FamilyTree }, []string{CodeFamily}},
		{"module", func(x *Trial) {
			x.Structure.Family, x.Design.Spec.Family = policies.FamilyModule, policies.FamilyModule
		}, []string{CodeFamily}},
		{"parameters without noise", func(x *Trial) { x.Design.Spec.Release = policies.ReleaseParameters }, []string{CodeFamily}},
		{"too many parameters", func(x *Trial) { x.Structure.Parameters = 41 }, []string{CodeStructure}},
		{"split point that is no edge", func(x *Trial) { x.Structure.Constants = []Constant{{Feature: 1, Number: 401}} }, []string{CodeStructure}},
		{"code that is in no list", func(x *Trial) { x.Structure.Constants = []Constant{{Feature: 2, Code: "丁", IsCode: true}} }, []string{CodeStructure}},
		{"leaf of few units", func(x *Trial) {
			few := Cell{{Feature: 1, Bin: 2}, {Feature: 2, Bin: 0, Equal: true}}
			x.Members = slices.Clone(x.Members)
			left := smallest - 1
			for u := range x.Members {
				if x.Members[u] && few.holds(x.Data, u) {
					x.Members[u] = left > 0
					left--
				}
			}
			x.Structure.Cells = []Cell{few}
		}, []string{CodeStructure}},
		{"centres on records", func(x *Trial) {
			for u, in := range x.Members {
				if in && len(x.Structure.Points) < 20 {
					x.Structure.Points = append(x.Structure.Points, point(x.Data, u, nil))
				}
			}
		}, []string{CodeInstance}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := plain
			c.edit(&x)
			// The static part alone for what is static: an attack costs seconds.
			if len(c.want) > 1 {
				r := run(t, x, Options{Attacked: 200}, 7)
				if got := codes(r); r.Verdict != Fail || !slices.Equal(got, c.want) {
					show(t, r)
					t.Errorf("%s %v, want %v", r.Verdict, got, c.want)
				}
				return
			}
			if got := static(t, x); !slices.Equal(got, c.want) {
				t.Errorf("refused for %v, want %v", got, c.want)
			}
		})
	}
	if got := static(t, plain); len(got) != 0 {
		t.Errorf("a plain logistic model is refused for %v", got)
	}
	registered := plain
	registered.Structure.Constants = []Constant{{Feature: 1, Number: 400}, {Feature: 0, Number: 1000}, {Feature: 2, Code: "乙", IsCode: true}, {Feature: -1, Code: "是", IsCode: true}}
	registered.Structure.Cells = []Cell{{{Feature: 2, Bin: 1, Equal: true}}, {{Feature: 2, Bin: 1, Equal: true, Not: true}}}
	if got := static(t, registered); len(got) != 0 {
		t.Errorf("constants of the catalogue are refused for %v", got)
	}
}

// static runs what needs no shadows.
func static(t *testing.T, x Trial) (out []string) {
	t.Helper()
	opt, err := Options{}.completed()
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBench(x, opt, newStream([32]byte{}), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	units := slices.Concat(b.in[:100], b.out[:100])
	slices.Sort(units)
	l := &lineup{units: units, data: b.pick(units)}
	l.rows = firstRows(l.data)
	for _, u := range units {
		l.member = append(l.member, x.Members[u])
	}
	scan, err := b.scan(l)
	if err != nil {
		t.Fatal(err)
	}
	r := &Report{}
	for _, f := range []Finding{{Code: CodeFamily, Figures: b.family()}, {Code: CodeStructure, Figures: scan}, {Code: CodeInstance, Figures: b.instances(b.rnd.fork("instances", 0))}} {
		f.Figures = r.held(f.Code, f.Figures)
		if !f.Passes() {
			out = append(out, f.Code)
		}
	}
	return out
}

// A label is guessed and a number predicted, rows come several to a unit, a value may
// be missing, and a clustering has no label: every shape of model goes through.
func TestR02_OtherShapes(t *testing.T) {
	if testing.Short() {
		t.Skip("arithmetic: left out of the short run under the race detector")
	}
	base := trial(t, 700, 3, 0, 3)
	t.Run("regression", func(t *testing.T) {
		x := base
		x.Design.Target = model.Target{Column: "cost", Bounds: [2]int64{0, 100}}
		x.Design.Spec.Family, x.Structure.Family = policies.FamilyLinear, policies.FamilyLinear
		x.Train = means(1, false)
		x.Target, _ = x.Train(context.Background(), x.Members, x.Data, nil)
		if r := run(t, x, Options{Attacked: 200}, 1); r.Verdict != Pass {
			show(t, r)
			t.Error(r.Verdict)
		}
	})
	t.Run("clustering", func(t *testing.T) {
		x := base
		x.Design.Target = model.Target{}
		x.Design.Spec.Family, x.Structure.Family = policies.FamilyKMeans, policies.FamilyKMeans
		x.Train = means(1, true)
		x.Target, _ = x.Train(context.Background(), x.Members, x.Data, nil)
		r := run(t, x, Options{Attacked: 200}, 1)
		if r.Verdict != Pass || !slices.Equal(r.Skipped, []string{CodeAttribute}) {
			show(t, r)
			t.Error(r.Verdict, r.Skipped)
		}
	})
	t.Run("several rows and what is missing", func(t *testing.T) {
		x := base
		d := clone(x.Data)
		for u := range d.Units {
			d.Units[u] = int32(u / 2)
			if u%5 == 0 {
				d.Bins[2][u], d.Bins[0][u], d.Values[0][u] = 3, 1, 0
			}
		}
		d.Count = 350
		x.Data, x.Members = d, apart(350, 40, 9)
		x.Target, _ = x.Train(context.Background(), x.Members, x.Data, seed(1))
		if r := run(t, x, Options{}, 1); slices.Contains(codes(r), CodeControl) {
			show(t, r)
			t.Error(r.Verdict)
		}
	})
}

// mean predicts the mean label of training, or clusters around the mean of everything.
type mean struct {
	w int
	v float64
	c []float64
}

func (m mean) Width() int { return m.w }
func (m mean) Score(d *model.Data, out []float64) {
	for i := range out {
		out[i] = m.v
	}
}

type meanCentre struct{ mean }

func (m meanCentre) Distances(d *model.Data, out []float64) {
	for r := range out {
		out[r] = math.Sqrt(distance(m.c, point(d, r, nil)))
	}
}

func means(w int, centre bool) Trainer {
	return func(_ context.Context, members []bool, d *model.Data, _ io.Reader) (model.Scorer, error) {
		m := mean{w: w, c: make([]float64, 2)}
		n := 0.0
		for r, u := range d.Units {
			if members[u] {
				n++
				m.v += float64(d.Label[r])
				for i, v := range point(d, r, nil) {
					m.c[i] += v
				}
			}
		}
		m.v /= n
		for i := range m.c {
			m.c[i] /= n
		}
		if centre {
			return meanCentre{m}, nil
		}
		return m, nil
	}
}

func TestRefusesBeforeAttack(t *testing.T) {
	good := trial(t, 600, 2, 0, 4)
	for _, c := range []struct {
		name string
		edit func(*Trial, *Options)
		want string
	}{
		{"few units", func(x *Trial, _ *Options) { x.Members = slices.Repeat([]bool{true}, 600) }, CodeSample},
		{"one value", func(x *Trial, o *Options) {
			x.Data = clone(x.Data)
			clear(x.Data.Values[0])
			o.Sensitive = []string{"caa"}
		}, CodeSample},
		{"few shadows", func(_ *Trial, o *Options) { o.Shadows = 32 }, "shadows"},
		{"odd shadows", func(_ *Trial, o *Options) { o.Shadows = 65 }, "shadows"},
		{"unknown column", func(_ *Trial, o *Options) { o.Sensitive = []string{"nobody"} }, "sensitive"},
		{"price of a model that is not private", func(x *Trial, _ *Options) { x.Rho = 5 }, "price"},
		{"members of other data", func(x *Trial, _ *Options) { x.Members = x.Members[:599] }, "members"},
		{"label that is no class", func(x *Trial, _ *Options) { x.Data = clone(x.Data); x.Data.Label[3] = 2 }, "label"},
		{"bin that is none", func(x *Trial, _ *Options) { x.Data = clone(x.Data); x.Data.Bins[1][3] = 9 }, "bin"},
		{"no trainer", func(x *Trial, _ *Options) { x.Train = nil }, "trainer"},
		{"training fails", func(x *Trial, _ *Options) {
			x.Train = func(context.Context, []bool, *model.Data, io.Reader) (model.Scorer, error) {
				return nil, errors.New("too few")
			}
		}, "failed to train a shadow"},
		{"score that is no number", func(x *Trial, _ *Options) {
			x.Train = func(context.Context, []bool, *model.Data, io.Reader) (model.Scorer, error) {
				return mean{w: 1, v: math.NaN()}, nil
			}
		}, "no number"},
	} {
		x, opt := good, Options{Attacked: 200}
		c.edit(&x, &opt)
		r, err := Run(context.Background(), x, opt, seed(1), nil)
		var reason *policies.Reason
		switch {
		case err == nil:
			t.Errorf("%s: %s", c.name, r.Verdict)
		case errors.As(err, &reason) && reason.Code != c.want || reason == nil && !strings.Contains(err.Error(), c.want):
			t.Errorf("%s: %v", c.name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, good, Options{}, seed(1), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run: %v", err)
	}
	if _, err := Run(context.Background(), good, Options{}, bytes.NewReader(nil), nil); err == nil {
		t.Error("a run without randomness")
	}
}

// An attack that cannot catch the control proves nothing.
func TestVoidWithoutControl(t *testing.T) {
	r := sampleReport(t)
	for i := range r.Attacks[2].Control {
		r.Attacks[2].Control[i] = r.Attacks[2].Figures[i]
	}
	r.decide()
	if r.Verdict != Void || r.Reasons[len(r.Reasons)-1].Code != CodeControl {
		t.Errorf("%s %v", r.Verdict, codes(r))
	}
	if _, err := r.Encode(); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(r.Reasons[0].Text("zh"), r.Reasons[0].Text("en")); !strings.Contains(got, CodeMembership) {
		t.Errorf("the reason does not name the attack: %s", got)
	}
}
