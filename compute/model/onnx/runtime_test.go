package onnx

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// python finds the interpreter that has onnxruntime. Without it the test is skipped, in
// continuous integration it fails.
func python(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(filepath.Join("..", "..", "..", ".ci", "onnx.sh"), "--offline").CombinedOutput()
	exit := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		return strings.TrimSpace(string(out))
	case os.Getenv("CI") != "true" && os.Getenv("SANDGATE_NEED_ONNX") == "" && errors.As(err, &exit) && exit.ExitCode() == 77:
		fmt.Fprintf(os.Stderr, "!! 跳过 %s：没有 onnxruntime · SKIPPED: no onnxruntime; run .ci/onnx.sh\n%s", t.Name(), out)
		t.Skip("no onnxruntime; run .ci/onnx.sh")
	}
	t.Fatalf("failed to find onnxruntime: %v\n%s", err, out)
	return ""
}

// sample is rows for one model, and what our scorer says of them.
type sample struct {
	p       *model.Parameters
	columns []string
	refused []bool
	score   []float64 // rows × width, in the label's units
	rounded []string  // by row of those not refused, then column
	width   int
}

const sampleRows = 3000

// rowsFor draws rows, one in fifty of them such that our scorer refuses it, and writes
// them for the script.
func rowsFor(t *testing.T, p *model.Parameters, r *rand.Rand, file string) *sample {
	t.Helper()
	s := &sample{p: p, refused: make([]bool, sampleRows)}
	inputs := map[string][]any{}
	coded := make([]model.Column, len(p.Features))
	written := make([][]string, sampleRows)
	for row := range sampleRows {
		wrong := -1
		if r.IntN(50) == 0 {
			wrong = r.IntN(len(p.Features))
		}
		for i, f := range p.Features {
			// A number that may be missing has no wrong value.
			d := draw(r, f, i == wrong && (f.Kind == model.KindCategory || !f.Nullable))
			s.refused[row] = s.refused[row] || d.refused
			missing := d.text == ""
			switch {
			case f.Kind == model.KindCategory:
				inputs[f.Column] = append(inputs[f.Column], d.text)
			case missing:
				inputs[f.Column] = append(inputs[f.Column], nil)
			default:
				inputs[f.Column] = append(inputs[f.Column], d.number)
			}
			c := &coded[i]
			text := d.text
			if d.refused && !missing {
				text = f.Codes[0]
			}
			c.Null = append(c.Null, missing)
			if f.Type == algebra.Text {
				c.Texts = append(c.Texts, text)
			} else {
				c.Ints = append(c.Ints, d.stored)
			}
			written[row] = append(written[row], d.text)
		}
	}
	for i, f := range p.Features {
		s.columns = append(s.columns, f.Column)
		if f.Type != algebra.Text && f.Kind == model.KindCategory {
			for row, v := range coded[i].Ints {
				if s.refused[row] && v == 0 && f.Type == algebra.Int {
					coded[i].Ints[row] = 3 // any code: what the row scores is not asked
				}
			}
		}
	}
	write(t, file, inputs)

	scorer, err := p.Scorer()
	if err != nil {
		t.Fatal(err)
	}
	data, err := model.EncodeRows(p.Features, coded)
	if err != nil {
		t.Fatal(err)
	}
	s.width = scorer.Width()
	s.score = make([]float64, sampleRows*s.width)
	scorer.Score(data, s.score)
	if p.Target.Classes == 0 && p.Family != policies.FamilyKMeans {
		lo, hi := float64(p.Target.Bounds[0]), float64(p.Target.Bounds[1])
		for i, v := range s.score {
			s.score[i] = (lo + (v+1)/2*(hi-lo)) / math.Pow10(p.Target.Scale)
		}
	}
	text, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var good [][]string
	seen := 0
	for row, x := range written {
		if !s.refused[row] {
			good = append(good, x)
			continue
		}
		if seen++; seen > 8 {
			continue // each reads the file anew
		}
		if _, err := engine.ScoreRows(text, s.columns, [][]string{x}); err == nil {
			t.Fatalf("row %d was to be one that the scorer refuses", row)
		}
	}
	scored, err := engine.ScoreRows(text, s.columns, good)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range scored.Rows {
		s.rounded = append(s.rounded, row...)
	}
	return s
}

func write(t *testing.T, file string, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// R02: onnxruntime loads every family's model and scores as we do: to 1e-9 of the
// score, at two digits but where the score stands at half a hundredth, and NaN where we
// refuse the row.
func TestR02ONNXRuntimeScoresAsWeDo(t *testing.T) {
	interpreter, dir := python(t), t.TempDir()
	r := rand.New(rand.NewPCG(3, 5))
	samples := map[string]*sample{}
	all := made()
	for i, name := range sorted(all) {
		m, err := Export(all[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		file := filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(file+".onnx", m.Content, 0o600); err != nil {
			t.Fatal(err)
		}
		samples[name] = rowsFor(t, all[name], r, file+".json")
	}
	// A control: with one learnt number changed the comparison must fail.
	wrong := *all["logistic"]
	wrong.Coefficients = [][]float64{append([]float64{wrong.Coefficients[0][0] + 1e-5}, wrong.Coefficients[0][1:]...)}
	m, err := Export(&wrong)
	if err != nil {
		t.Fatal(err)
	}
	control := filepath.Join(dir, "control")
	if err := os.WriteFile(control+".onnx", m.Content, 0o600); err != nil {
		t.Fatal(err)
	}
	samples["control"] = rowsFor(t, all["logistic"], r, control+".json")

	if out, err := exec.Command(interpreter, filepath.Join("testdata", "score.py"), dir).CombinedOutput(); err != nil {
		t.Fatalf("onnxruntime: %v\n%s", err, out)
	}
	for i, name := range sorted(all) {
		if faults := samples[name].compare(t, filepath.Join(dir, strconv.Itoa(i)+".out.json")); len(faults) > 0 {
			t.Errorf("%s: %d rows differ: %s", name, len(faults), faults[0])
		}
	}
	if faults := samples["control"].compare(t, control+".out.json"); len(faults) < sampleRows/2 {
		t.Errorf("the control differs in %d rows: the comparison sees nothing", len(faults))
	}
}

// compare lists the rows in which onnxruntime's answer differs.
func (s *sample) compare(t *testing.T, file string) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Score, Rounded [][]*float64 }
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Score) != sampleRows || len(got.Rounded) != sampleRows || len(got.Score[0]) != s.width {
		t.Fatalf("%d rows of %d, %d rounded", len(got.Score), len(got.Score[0]), len(got.Rounded))
	}
	var faults []string
	fault := func(row int, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("row %d: ", row+1)+fmt.Sprintf(format, args...))
	}
	ties, refused, at, largest, seen := 0, 0, 0, 0.0, map[float64]bool{}
	for row := range sampleRows {
		for k := range s.width {
			score, rounded := got.Score[row][k], got.Rounded[row][k]
			if s.refused[row] {
				refused++
				if score != nil || rounded != nil {
					fault(row, "it is refused by us, and scored")
				}
				continue
			}
			want := s.score[row*s.width+k]
			two, err := strconv.ParseFloat(s.rounded[at], 64)
			if err != nil {
				t.Fatal(err)
			}
			at++
			size := max(1, math.Abs(want))
			if score == nil || rounded == nil || math.Abs(*score-want) > 1e-9*size {
				fault(row, "%v, ours is %v", score, want)
				continue
			}
			seen[*rounded], largest = true, max(largest, math.Abs(*score-want)/size)
			if math.Abs(*rounded-two) < 1e-9*size {
				continue
			}
			_, part := math.Modf(math.Abs(want) * 100)
			if ties++; math.Abs(part-0.5) > 1e-7*size || math.Abs(*rounded-two) > 0.01+1e-9*size {
				fault(row, "%v at two digits, ours is %v", *rounded, two)
			}
		}
	}
	if refused == 0 || ties > 20 {
		fault(0, "%d refused, %d ties", refused, ties)
	}
	if s.p.Count() > 10 && len(s.p.Centres) != 1 && len(seen) < 3 {
		fault(0, "%d scores: the rows reach little of the model", len(seen))
	}
	t.Logf("%s: %d scores, %d refused, %d at half a hundredth, largest difference %.1e", s.p.Family, len(s.score), refused, ties, largest)
	return faults
}
