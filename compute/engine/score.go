package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/sandbox"
)

// ScoreHandler is the worker that scores rows by a parameter file. It is handed no
// file and holds no data but what the caller brought.
const ScoreHandler = "model.score"

func init() { sandbox.Register(ScoreHandler, scoreJob) }

// MaxScored is how many rows one call scores.
const MaxScored = 10_000

// ScoreJob is the payload of a scoring worker.
type ScoreJob struct {
	Parameters []byte     `json:"parameters"`
	Columns    []string   `json:"columns"`
	Rows       [][]string `json:"rows"`
}

// Scored is what came of it: scores, or what is wrong with the rows.
type Scored struct {
	Columns []string    `json:"columns,omitempty"`
	Rows    [][]string  `json:"rows,omitempty"`
	Fault   *ScoreFault `json:"fault,omitempty"`
}

// ScoreFault is what is wrong with rows that somebody brought: places, and never a
// value.
type ScoreFault struct {
	Code   string `json:"code"`   // ROW_FORM, COLUMN_MISSING, COLUMN_UNKNOWN or ROW_COUNT
	Row    int    `json:"row"`    // from 1; 0 for the header
	Column int    `json:"column"` // from 1, of the header or, for COLUMN_MISSING, of the features
}

func (f *ScoreFault) Error() string {
	return fmt.Sprintf("rows refused: %s, row %d, column %d", f.Code, f.Row, f.Column)
}

var (
	scoreCodes  = []string{"ROW_FORM", "COLUMN_MISSING", "COLUMN_UNKNOWN", "ROW_COUNT"}
	scoreNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,18})\.[0-9]{2}$`)
)

// Score scores rows in a worker. The error is *ScoreFault, *ModelRefused for a
// parameter file that is none, or *sandbox.ErrKilled.
func (r *Runner) Score(ctx context.Context, parameters []byte, columns []string, rows [][]string, limits sandbox.Limits) (*Scored, error) {
	if len(rows) == 0 || len(rows) > MaxScored {
		return nil, &ScoreFault{Code: "ROW_COUNT"}
	}
	payload, err := json.Marshal(ScoreJob{parameters, columns, rows})
	if err != nil {
		return nil, fmt.Errorf("failed to encode job: %w", err)
	}
	var frames [][]byte
	take := func(frame []byte) error {
		if frames = append(frames, slices.Clone(frame)); len(frames) > 1 {
			return &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
		}
		return nil
	}
	if err := r.Pool.Run(ctx, sandbox.Job{Handler: ScoreHandler, Payload: payload, Limits: limits}, take); err != nil {
		return nil, err
	}
	if len(frames) != 1 {
		return nil, &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
	}
	return decodeScored(frames[0], len(rows), len(columns))
}

// decodeScored reads a scoring worker's one frame and trusts nothing of it.
func decodeScored(frame []byte, rows, columns int) (*Scored, error) {
	bad := &sandbox.ErrKilled{Cause: sandbox.CauseProtocol}
	var s Scored
	if err := json.Unmarshal(frame, &s); err != nil {
		return nil, bad
	}
	if f := s.Fault; f != nil {
		if f.Code == string(ModelParameters) {
			return nil, &ModelRefused{ModelParameters}
		}
		if !slices.Contains(scoreCodes, f.Code) || f.Row < 0 || f.Row > rows || f.Column < 0 || f.Column > max(columns, maxModelColumns) {
			return nil, bad
		}
		return nil, f
	}
	if len(s.Rows) != rows || len(s.Columns) == 0 || len(s.Columns) > maxModelColumns {
		return nil, bad
	}
	for _, row := range s.Rows {
		if len(row) != len(s.Columns) || slices.ContainsFunc(row, func(v string) bool { return !scoreNumber.MatchString(v) }) {
			return nil, bad
		}
	}
	return &s, nil
}

func scoreJob(_ context.Context, payload []byte, _ []*os.File, emit func([]byte) error) error {
	var job ScoreJob
	if err := json.Unmarshal(payload, &job); err != nil {
		return errors.New("not a job of this worker")
	}
	out, err := ScoreRows(job.Parameters, job.Columns, job.Rows)
	var fault *ScoreFault
	if errors.As(err, &fault) {
		out, err = &Scored{Fault: fault}, nil
	}
	if err != nil {
		out = &Scored{Fault: &ScoreFault{Code: string(ModelParameters)}}
	}
	frame, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return emit(frame)
}

// ScoreRows scores rows of feature values, written as the catalogue writes them, an
// empty one missing, by a parameter file. Scores have two digits: the probability of
// class 1, of every class but the first, the number in the label's own unit, or the
// place of the nearest centre. The error is *ScoreFault when the rows are to blame.
func ScoreRows(file []byte, columns []string, rows [][]string) (*Scored, error) {
	p, err := model.Parse(file)
	if err != nil {
		return nil, err
	}
	scorer, err := p.Scorer()
	if err != nil {
		return nil, err
	}
	data, err := rowsOf(p.Features, columns, rows)
	if err != nil {
		return nil, err
	}
	raw := make([]float64, len(rows)*scorer.Width())
	scorer.Score(data, raw)
	out := &Scored{Columns: scoreNames(p), Rows: make([][]string, len(rows))}
	for r := range rows {
		for _, v := range raw[r*scorer.Width() : (r+1)*scorer.Width()] {
			out.Rows[r] = append(out.Rows[r], twoDigits(inUnit(p, v)))
		}
	}
	return out, nil
}

// CodeRows codes rows for a linear model whose inputs alone are known. The error is
// *ScoreFault when the rows are to blame.
func CodeRows(s *model.Schema, columns []string, rows [][]string) (*model.Data, error) {
	if len(rows) == 0 {
		return nil, &ScoreFault{Code: "ROW_COUNT"}
	}
	return rowsOf(s.Features, columns, rows)
}

// ShowScores writes scores of a linear model as ScoreRows does: its sums, row by row,
// through the link.
func ShowScores(s *model.Schema, sums []float64) *Scored {
	p := &model.Parameters{Family: s.Family, Target: s.Target}
	out := &Scored{Columns: scoreNames(p)}
	for width := s.Outputs(); len(sums) >= width; sums = sums[width:] {
		one := slices.Clone(sums[:width])
		s.Link(one)
		row := make([]string, width)
		for k, v := range one {
			row[k] = twoDigits(inUnit(p, v))
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// scoreNames are the columns of the scores.
func scoreNames(p *model.Parameters) []string {
	switch {
	case p.Family == policies.FamilyKMeans:
		return []string{"cluster"}
	case p.Target.Classes > 2:
		return slices.Clone(p.Target.Codes[1:])
	}
	return []string{p.Target.Column}
}

// inUnit brings the score of a number from [-1, 1] into the label's own unit.
func inUnit(p *model.Parameters, v float64) float64 {
	if p.Family == policies.FamilyKMeans || p.Target.Classes != 0 {
		return v
	}
	lo, hi := float64(p.Target.Bounds[0]), float64(p.Target.Bounds[1])
	return (lo + (v+1)/2*(hi-lo)) / math.Pow10(p.Target.Scale)
}

func twoDigits(v float64) string {
	s := strconv.FormatFloat(v, 'f', 2, 64)
	if s == "-0.00" {
		return "0.00"
	}
	return s
}

// rowsOf codes rows for a model. Columns may stand in any order; each feature's must be
// there, and no other.
func rowsOf(features []model.Feature, columns []string, rows [][]string) (*model.Data, error) {
	for i, c := range columns {
		if slices.Contains(columns[:i], c) || !slices.ContainsFunc(features, func(f model.Feature) bool { return f.Column == c }) {
			return nil, &ScoreFault{Code: "COLUMN_UNKNOWN", Column: i + 1}
		}
	}
	coded := make([]model.Column, len(features))
	for i, f := range features {
		at := slices.Index(columns, f.Column)
		if at < 0 {
			return nil, &ScoreFault{Code: "COLUMN_MISSING", Column: i + 1}
		}
		c := model.Column{Null: make([]bool, len(rows))}
		if f.Type == algebra.Text {
			c.Texts = make([]string, len(rows))
		} else {
			c.Ints = make([]int64, len(rows))
		}
		for r, row := range rows {
			fault := &ScoreFault{Code: "ROW_FORM", Row: r + 1, Column: at + 1}
			if len(row) != len(columns) {
				return nil, fault
			}
			if c.Null[r] = row[at] == ""; c.Null[r] {
				if !f.Nullable {
					return nil, fault
				}
				continue
			}
			if f.Kind == model.KindCategory && !slices.Contains(f.Codes, row[at]) {
				return nil, fault
			}
			if f.Type == algebra.Text {
				c.Texts[r] = row[at]
				continue
			}
			v, err := storedValue(f, row[at])
			if err != nil {
				return nil, fault
			}
			c.Ints[r] = v
		}
		coded[i] = c
	}
	data, err := model.EncodeRows(features, coded)
	if err != nil {
		return nil, &ScoreFault{Code: "ROW_FORM"}
	}
	return data, nil
}

// storedValue reads a value as it is stored: minimal units, days, 0 and 1.
func storedValue(f model.Feature, s string) (int64, error) {
	switch f.Type {
	case algebra.Date:
		return algebra.ParseDate(s)
	case algebra.Bool:
		b, err := strconv.ParseBool(s)
		if b {
			return 1, err
		}
		return 0, err
	case algebra.Decimal:
		return algebra.ParseDecimal(s, uint8(f.Scale))
	}
	return strconv.ParseInt(s, 10, 64)
}
