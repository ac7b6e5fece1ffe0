package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"unicode/utf8"

	"github.com/sandgate/sandgate/policies"
)

// Format is the name and version of a comparison's document.
const Format = "sandgate-comparison/v1"

// Bounds of a document.
const (
	MaxDocument = 8 << 20 // bytes
	mostQueries = 1000
	mostModels  = 100
	mostColumns = 256
	mostFigures = 256
	longestText = 4096 // of a name or key, in bytes
)

// Report is what its party compared. It is that party's word: no certificate covers it.
type Report struct {
	Format  string  `json:"format"`
	Party   string  `json:"party"` // whose releases they are
	At      int64   `json:"at"`    // Unix milliseconds
	Queries []Query `json:"queries,omitempty"`
	Models  []Model `json:"models,omitempty"`
}

// Encode spells a report, after the checks that Parse makes.
func (r *Report) Encode() ([]byte, error) {
	r.Format = Format
	if err := r.check(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return nil, fmt.Errorf("failed to encode comparison: %w", err)
	}
	return out.Bytes(), nil
}

// CodeComparison is the code of a document that is none.
const CodeComparison = "COMPARISON"

func bad(zh, en string) error {
	return &policies.Reason{Code: CodeComparison, Rule: "twin", SetBy: "sandgate", ZH: "不是有效的比较文件：" + zh, EN: "this is no valid comparison: " + en,
		HintZH: "用 sandgate twin compare -o json 重新生成", HintEN: "make it again with sandgate twin compare -o json"}
}

// Parse reads a report. What Encode does not write is a *policies.Reason that quotes
// nothing of it: another format, unknown fields, numbers that are none, ranges out of
// order.
func Parse(text []byte) (*Report, error) {
	if len(text) > MaxDocument {
		return nil, bad("文件过大", "it is too large")
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	r := &Report{}
	if err := dec.Decode(r); err != nil {
		return nil, bad("不是规定的 JSON，或有未知字段", "it is not the JSON laid down, or has an unknown field")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, bad("文件尾部有多余内容", "something follows it")
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *Report) check() error {
	if r.Format != Format {
		return bad("格式不是 "+Format, "its format is not "+Format)
	}
	if !named(r.Party) || r.At < 0 || r.At > 1<<53 || len(r.Queries) > mostQueries || len(r.Models) > mostModels {
		return bad("比较方、时间或长度不符", "its party, time or length does not hold")
	}
	for i, q := range r.Queries {
		if !q.holds() {
			return bad(fmt.Sprintf("第 %d 条语句不符", i+1), fmt.Sprintf("text %d does not hold", i+1))
		}
	}
	for i, m := range r.Models {
		if !m.holds() {
			return bad(fmt.Sprintf("第 %d 个模型不符", i+1), fmt.Sprintf("model %d does not hold", i+1))
		}
	}
	return nil
}

func named(s ...string) bool {
	for _, x := range s {
		if len(x) > longestText || !utf8.ValidString(x) {
			return false
		}
	}
	return true
}

func finite(x ...float64) bool {
	for _, v := range x {
		if math.IsNaN(v) || math.Abs(v) > 1e300 {
			return false
		}
	}
	return true
}

func (c Cell) holds() bool { return finite(c.Value, c.Low, c.High) && c.Low <= c.High }

func (r Range) holds() bool {
	return finite(r.Low, r.About, r.High) && 0 <= r.Low && r.Low <= r.About && r.About <= r.High
}

func sourced(all []Source) bool {
	for _, s := range all {
		if !named(s.Dataset, s.Twin) || !named(s.MadeUp...) || len(s.MadeUp) > mostColumns || s.Units < 0 {
			return false
		}
	}
	return len(all) <= mostColumns
}

func (q Query) holds() bool {
	g := q.Groups
	if !named(q.Name, q.Job, q.Refused) || !sourced(q.Sources) || min(g.Both, g.Data, g.Twin, g.Unclear) < 0 || len(q.Columns) > mostColumns {
		return false
	}
	for _, c := range q.Columns {
		if !named(c.Name) || c.Cells < 0 || c.Withheld < 0 || !finite(c.Data) || c.Data < 0 || !c.Mean.holds() || !c.Worst.holds() || len(c.Points) > MostPoints {
			return false
		}
		for _, p := range c.Points {
			if !named(p.Group) || !p.Data.holds() || !p.Twin.holds() {
				return false
			}
		}
	}
	return true
}

func (m Model) holds() bool {
	if !named(m.Product, m.Model, m.Data, m.Twin, m.Refused) || !sourced(m.Sources) || len(m.Figures) > mostFigures {
		return false
	}
	for _, f := range m.Figures {
		if !named(f.Name, f.Group) || !f.Data.holds() || !f.Twin.holds() || !f.Error.holds() {
			return false
		}
	}
	return m.Agree == nil || m.Agree.Rows > 0 && m.Agree.Share >= 0 && m.Agree.Share <= 10_000
}
