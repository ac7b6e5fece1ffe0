package gate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Verdict of a run.
type Verdict string

// Verdicts. A model may be released on PASS alone.
const (
	Pass Verdict = "PASS"
	Fail Verdict = "FAIL"
	Void Verdict = "VOID" // an attack did not catch the model that memorises: nothing is proved
)

// What a figure is about: this model, or the way it is trained (the shadows, each
// attacked with the help of the others).
const (
	OfModel    = "model"
	OfTraining = "training"
)

// Figure is one measured number with its 95 % confidence interval and its pass marks,
// decimal strings with three places. A mark that is empty is not asked of it.
type Figure struct {
	Name   string `json:"name"`
	Of     string `json:"of"`
	Column string `json:"column,omitempty"` // the feature it is about
	Value  string `json:"value"`
	Lo     string `json:"lo,omitempty"`
	Hi     string `json:"hi,omitempty"`
	// Most is what Value, MostLo what Lo and MostHi what Hi may be at most. A mark on Lo
	// is asked where the sample is too small for a harmless model to meet one on Value or Hi.
	Most   string `json:"most,omitempty"`
	MostLo string `json:"most_lo,omitempty"`
	MostHi string `json:"most_hi,omitempty"`
}

// Passes reports whether the figure meets its marks.
func (f Figure) Passes() bool {
	within := func(v, mark string) bool {
		return mark == "" || v != "" && thousandths(v) <= thousandths(mark)
	}
	return within(f.Value, f.Most) && within(f.Lo, f.MostLo) && within(f.Hi, f.MostHi)
}

// Finding is the outcome of one attack, on the model and on the control.
type Finding struct {
	Code    string   `json:"code"`
	Figures []Figure `json:"figures"`
	Control []Figure `json:"control"`
}

// Passes reports whether the model withstood the attack.
func (f Finding) Passes() bool { return all(f.Figures) }

// Caught reports whether the attack caught the model that memorises.
func (f Finding) Caught() bool { return len(f.Control) > 0 && !all(f.Control) }

func all(figures []Figure) bool {
	return !slices.ContainsFunc(figures, func(f Figure) bool { return !f.Passes() })
}

// Point of a ROC curve: the rate at which members are caught when the share FPR of the
// others is taken for members.
type Point struct {
	FPR     string `json:"fpr"`
	TPR     string `json:"tpr"`
	Control string `json:"control"`
}

// Report is the body of a model certificate 模型合格证. Numbers of units are rounded down
// to two significant digits, which is what of them is published.
type Report struct {
	Version     int                   `json:"version"` // 2; 1 in reports held to older marks
	Verdict     Verdict               `json:"verdict"`
	Family      policies.ModelFamily  `json:"family"`
	Release     policies.ModelRelease `json:"release"`
	Private     bool                  `json:"private"`
	Rho         budget.Nano           `json:"rho"`
	Epsilon     string                `json:"epsilon"` // of (ε, 10⁻⁶), rounded up; 0.000 of a model that is not private
	Features    int                   `json:"features"`
	Parameters  int                   `json:"parameters"`
	Units       int                   `json:"units"`        // in training
	HeldOut     int                   `json:"held_out"`     // kept out of it
	Attacked    int                   `json:"attacked"`     // units attacked, half of them members
	Shadows     int                   `json:"shadows"`      // models trained for each attack that needs them
	ShadowUnits int                   `json:"shadow_units"` // units that each was trained on
	Canaries    int                   `json:"canaries"`
	Targets     int                   `json:"targets"` // values that the informed adversary lacks, of labels and of features each
	Attacks     []Finding             `json:"attacks"`
	// Skipped attacks do not apply: GATE_ATTRIBUTE to a model without a label.
	Skipped []string           `json:"skipped,omitempty"`
	ROC     []Point            `json:"roc"` // of membership inference
	Reasons []*policies.Reason `json:"reasons,omitempty"`
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,8})\.[0-9]{3}$`)

// thousandths of a decimal string of three places.
func thousandths(s string) int64 {
	n, err := strconv.ParseInt(strings.Replace(s, ".", "", 1), 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return n
}

// places3 writes x with three places, rounded to nearest; what is too large to write is
// cut, so that it never looks harmless.
func places3(x float64) string { return fixed(math.Round(x * 1000)) }
func floor3(x float64) string  { return fixed(math.Floor(x*1000 + 1e-6)) }
func ceil3(x float64) string   { return fixed(math.Ceil(x*1000 - 1e-6)) }

func fixed(n float64) string {
	if math.IsNaN(n) {
		n = math.Inf(1)
	}
	v := int64(max(-999_999_999, min(999_999_999, n)))
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	return fmt.Sprintf("%s%d.%03d", sign, v/1000, v%1000)
}

// figure of an interval; the marks are set by the attack.
func figure(name, of string, v interval) Figure {
	return Figure{Name: name, Of: of, Value: places3(v.value), Lo: floor3(v.lo), Hi: ceil3(v.hi)}
}

// count is a figure without an interval.
func count(name string, n, most int) Figure {
	return Figure{Name: name, Of: OfModel, Value: places3(float64(n)), Most: places3(float64(most))}
}

// about rounds down to two significant digits.
func about(n int) int {
	for p := 10; ; p *= 10 {
		if n < 10*p {
			return n / (p / 10) * (p / 10)
		}
	}
}

// decide sets verdict and reasons from the findings.
func (r *Report) decide() {
	r.Verdict, r.Reasons = Pass, nil
	for _, f := range r.Attacks {
		if !f.Passes() {
			r.Verdict = Fail
			r.Reasons = append(r.Reasons, f.reason())
		}
	}
	for _, f := range r.Attacks {
		if !f.Caught() {
			r.Verdict = Void
			r.Reasons = append(r.Reasons, missed(f.Code))
		}
	}
}

// Encode writes the report canonically: equal reports give equal bytes.
func (r *Report) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("failed to encode gate report: %w", err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("failed to encode gate report: %w", err)
	}
	return b, nil
}

// Load reads what Encode wrote and nothing else. The verdict and its reasons are
// decided again from the figures, and every attack that applies must be there: a report
// that says PASS without proof is refused.
func Load(b []byte) (*Report, error) {
	var r Report
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("failed to decode gate report: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("failed to decode gate report: more follows")
	}
	canonical, err := r.Encode()
	if err != nil {
		return nil, fmt.Errorf("failed to decode gate report: %w", err)
	}
	if !bytes.Equal(canonical, b) {
		return nil, errors.New("failed to decode gate report: not in canonical form")
	}
	return &r, nil
}

func (r *Report) check() error {
	if r.Version != 1 && r.Version != 2 {
		return errors.New("unknown version")
	}
	for _, n := range []int{r.Features, r.Parameters, r.Units, r.HeldOut, r.Attacked, r.Shadows, r.ShadowUnits, r.Canaries, r.Targets} {
		if n < 0 {
			return errors.New("a number is negative")
		}
	}
	if r.Shadows < 64 || r.Rho < 0 || r.Private != (r.Rho > 0) || r.Epsilon != epsilonText(r.Rho) {
		return errors.New("shadows, price or epsilon is impossible")
	}
	want := Codes
	if len(r.Skipped) > 0 {
		if r.Family != policies.FamilyKMeans || !slices.Equal(r.Skipped, []string{CodeAttribute}) {
			return errors.New("an attack that applies was skipped")
		}
		want = slices.DeleteFunc(slices.Clone(Codes), func(c string) bool { return c == CodeAttribute })
	}
	if !slices.EqualFunc(r.Attacks, want, func(f Finding, code string) bool { return f.Code == code }) {
		return errors.New("the attacks are not those of the gate")
	}
	for _, f := range r.Attacks {
		if err := f.check(r); err != nil {
			return err
		}
	}
	// The head says what the family rule found.
	bare := r.Release != policies.ReleaseScores && (r.Release != policies.ReleaseParameters || !r.Private)
	if head := r.Attacks[0].Figures; !slices.Contains(families, r.Family) && head[0].Passes() || bare && head[1].Passes() || head[2].Value != r.Epsilon {
		return errors.New("the family rule does not agree with the head")
	}
	for _, p := range r.ROC {
		if !decimal.MatchString(p.FPR) || !decimal.MatchString(p.TPR) || !decimal.MatchString(p.Control) {
			return errors.New("a point of the curve is no decimal")
		}
	}
	again := *r
	again.decide()
	if again.Verdict != r.Verdict || !slices.EqualFunc(again.Reasons, r.Reasons, func(a, b *policies.Reason) bool {
		return a != nil && b != nil && *a == *b
	}) {
		return errors.New("the verdict does not follow from the figures")
	}
	return nil
}
