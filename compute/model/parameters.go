package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Format is the parameter file's name and version; docs/model-file.md describes it.
const Format = "sandgate-model/v1"

// MaxFile is the largest parameter file, in bytes.
const MaxFile = 8 << 20

// Parameters 参数文件 is a trained model: constants of the catalogue and numbers, no
// code. Coefficients follow slots: the intercept, then per feature its value (scaled
// from its bounds to [-1, 1]) or an indicator of each code but the first, then, of a
// nullable feature, one of being missing. Bins are those of Feature.Bins.
type Parameters struct {
	Format string               `json:"format"`
	Family policies.ModelFamily `json:"family"`
	// Operators are what a reader applies, in order; they follow from the family.
	Operators []string `json:"operators"`
	Private   bool     `json:"private,omitempty"`
	Rho       string   `json:"rho,omitempty"` // what training was charged
	// Design is the SHA-256 of the design that was trained.
	Design   string    `json:"design"`
	Features []Feature `json:"features"`
	Target   Target    `json:"target,omitzero"`
	// Coefficients of linear, logistic and softmax models: one row per output.
	Coefficients [][]float64 `json:"coefficients,omitempty"`
	// Intercept and Tables of an additive model: a table per feature, by bin, then one
	// per pair, by bin of the first and, within it, of the second.
	Intercept float64     `json:"intercept,omitempty"`
	Pairs     [][2]int    `json:"pairs,omitempty"`
	Tables    [][]float64 `json:"tables,omitempty"`
	// Trees of a tree or forest; a forest's score is the mean of its trees'.
	Trees []Tree `json:"trees,omitempty"`
	// Centres of kmeans, by slot but the intercept.
	Centres [][]float64 `json:"centres,omitempty"`
}

// operators of each family.
var operators = map[policies.ModelFamily][]string{
	policies.FamilyLinear:   {"scale", "indicate", "linear"},
	policies.FamilyLogistic: {"scale", "indicate", "linear", "logistic"},
	policies.FamilySoftmax:  {"scale", "indicate", "linear", "softmax"},
	policies.FamilyAdditive: {"bin", "look_up", "sum"},
	policies.FamilyTree:     {"bin", "walk"},
	policies.FamilyForest:   {"bin", "walk", "mean"},
	policies.FamilyKMeans:   {"scale", "indicate", "nearest"},
}

func operatorsOf(f policies.ModelFamily, classes int) []string {
	out := operators[f]
	if f == policies.FamilyAdditive && classes == 2 {
		return append(slices.Clone(out), "logistic")
	}
	return out
}

// complete fills in what follows from the design, and rounds: nine digits more of a
// number carry nothing but a channel.
func (p *Parameters) complete(d Design, price budget.Nano) {
	digest := d.Digest()
	p.Format, p.Family, p.Private, p.Design = Format, d.Spec.Family, d.Spec.Private, hex.EncodeToString(digest[:])
	p.Operators = operatorsOf(p.Family, d.Target.Classes)
	if p.Private {
		p.Rho = price.String()
	}
	p.Features, p.Target = d.Features, d.Target
	for _, t := range d.terms()[len(d.Features):] {
		p.Pairs = append(p.Pairs, [2]int{t.a, t.b})
	}
	p.Intercept = digits(p.Intercept)
	for _, rows := range [][][]float64{p.Coefficients, p.Tables, p.Centres} {
		for _, row := range rows {
			for i := range row {
				row[i] = digits(row[i])
			}
		}
	}
	for _, t := range p.Trees {
		for i := range t.Nodes {
			t.Nodes[i].Cell, t.Nodes[i].Value = 0, digits(t.Nodes[i].Value)
		}
	}
}

// digits rounds to six significant digits.
func digits(x float64) float64 {
	v, err := strconv.ParseFloat(strconv.FormatFloat(x, 'e', 5, 64), 64)
	if err != nil || math.Abs(v) < 1e-12 {
		return 0 // −0 and what is next to nothing, in one spelling
	}
	return v
}

// Count is how many numbers were learnt: coefficients, cells, leaves or coordinates.
func (p *Parameters) Count() int {
	n := 0
	for _, rows := range [][][]float64{p.Coefficients, p.Tables, p.Centres} {
		for _, row := range rows {
			n += len(row)
		}
	}
	if len(p.Tables) > 0 {
		n++
	}
	for _, t := range p.Trees {
		for _, x := range t.Nodes {
			if x.Left == 0 {
				n++
			} else {
				n += 2
			}
		}
	}
	return n
}

// file is Parameters with their digest, which is the last field.
type file struct {
	*Parameters
	Digest string `json:"digest,omitempty"`
}

// body is the canonical encoding without the digest.
func (p *Parameters) body() ([]byte, error) {
	text, err := json.Marshal(file{Parameters: p})
	if err != nil {
		return nil, fmt.Errorf("failed to encode parameters: %w", err)
	}
	return text, nil
}

// Digest is the SHA-256 of the canonical encoding without its digest field, in
// hexadecimal.
func (p *Parameters) Digest() (string, error) {
	text, err := p.body()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(Format+"\n"), text...))
	return hex.EncodeToString(sum[:]), nil
}

// Encode writes the parameter file: one line of canonical JSON that ends with the
// digest of the rest. Equal parameters give equal bytes.
func (p *Parameters) Encode() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	digest, err := p.Digest()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(file{p, digest})
	if err != nil {
		return nil, fmt.Errorf("failed to encode parameters: %w", err)
	}
	return append(text, '\n'), nil
}

// Parse reads a parameter file. It takes the canonical encoding alone: an unknown
// field, another spelling or order, a number out of range, a digest that does not fit
// is a *policies.Reason with CodeParameter.
func Parse(text []byte) (*Parameters, error) {
	bad := func(zh, en string) error {
		return reason(CodeParameter, "不是有效的模型参数文件："+zh, "this is no valid model file: "+en, "向发布方重新取得文件，不要改动", "get the file again from who released it, and do not change it")
	}
	if len(text) > MaxFile {
		return nil, bad("文件过大", "it is too large")
	}
	f := file{Parameters: &Parameters{}}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return nil, bad("不是规定的 JSON，或有未知字段", "it is not the JSON laid down, or has an unknown field")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, bad("文件尾部有多余内容", "something follows the model")
	}
	p := f.Parameters
	if err := p.check(); err != nil {
		return nil, err
	}
	again, err := p.Encode()
	if err != nil {
		return nil, err
	}
	if digest, _ := p.Digest(); digest != f.Digest {
		return nil, bad("摘要不符，文件已被改动", "the digest does not fit: the file was changed")
	}
	if !bytes.Equal(again, text) {
		return nil, bad("不是规范写法", "it is not spelled canonically")
	}
	return p, nil
}

// check holds parameters to the format: everything that a scorer relies on.
func (p *Parameters) check() error {
	bad := func(zh, en string) error {
		return reason(CodeParameter, "不是有效的模型参数："+zh, "these are no valid model parameters: "+en, "向发布方重新取得文件，不要改动", "get the file again from who released it, and do not change it")
	}
	if p.Format != Format {
		return bad("格式不是 "+Format, "the format is not "+Format)
	}
	if _, known := operators[p.Family]; !known || !slices.Equal(p.Operators, operatorsOf(p.Family, p.Target.Classes)) {
		return bad("模型族或算子不在允许之列", "the family or an operator is not an allowed one")
	}
	if !isDigest(p.Design) {
		return bad("缺少设计摘要", "the digest of the design is missing")
	}
	if p.Private != (p.Rho != "") {
		return bad("private 与 rho 不一致", "private and rho do not agree")
	}
	if p.Private {
		if n, err := budget.ParsePrice(p.Rho); err != nil || n <= 0 || n.String() != p.Rho {
			return bad("rho 不是规范的十进制数", "rho is no canonical decimal number")
		}
	}
	if len(p.Features) == 0 || len(p.Features) > maxFeatures {
		return bad("特征个数不符", "the number of features is out of range")
	}
	for _, f := range p.Features {
		if !f.valid() {
			return bad("特征的常数不符", "a constant of a feature is out of range")
		}
	}
	if !p.Target.valid(p.Family) {
		return bad("标签与模型族不符", "the label does not fit the family")
	}
	if !p.shaped() {
		return bad("参数的个数或取值不符", "the number or range of the parameters is wrong")
	}
	return nil
}

func (f Feature) valid() bool {
	if f.Column == "" || len(f.Column) > 256 || strings.ContainsFunc(f.Column, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }) {
		return false
	}
	switch f.Kind {
	case KindCategory:
		return len(f.Codes) >= 2 && len(f.Codes) <= maxCodes && distinct(f.Codes) && len(f.Edges) == 0 && f.Bounds == [2]int64{} && f.Scale == 0 &&
			slices.Contains([]algebra.Kind{algebra.Text, algebra.Int, algebra.Bool, algebra.Date}, f.Type)
	case KindNumber:
		lo, hi := f.Bounds[0], f.Bounds[1]
		if len(f.Codes) != 0 || lo >= hi || lo < -maxMagnitude || hi > maxMagnitude || len(f.Edges) >= maxBins || f.Scale < 0 || f.Scale > 9 ||
			!slices.Contains([]algebra.Kind{algebra.Int, algebra.Decimal, algebra.Date}, f.Type) {
			return false
		}
		for i, e := range f.Edges {
			if e <= lo && i > 0 || e > hi+1 || i > 0 && e <= f.Edges[i-1] {
				return false
			}
		}
		return true
	}
	return false
}

// maxMagnitude of a stored bound; see policies.ParseBounds. Masks move it little.
const maxMagnitude = int64(1) << 54

func distinct(s []string) bool {
	seen := map[string]bool{}
	for _, x := range s {
		if seen[x] || len(x) > 256 {
			return false
		}
		seen[x] = true
	}
	return true
}

func (t Target) valid(f policies.ModelFamily) bool {
	if f == policies.FamilyKMeans {
		return t.Column == "" && t.Classes == 0 && len(t.Codes) == 0 && len(t.Positive) == 0 && t.Threshold == nil && t.Bounds == [2]int64{}
	}
	if t.Column == "" || len(t.Column) > 256 || !distinct(t.Codes) || !distinct(t.Positive) || len(t.Codes) > maxCodes || t.Scale < 0 || t.Scale > 9 {
		return false
	}
	for _, p := range t.Positive {
		if !slices.Contains(t.Codes, p) {
			return false
		}
	}
	binary := t.Classes == 2 && (len(t.Positive) > 0) != (t.Threshold != nil)
	number := t.Classes == 0 && len(t.Codes) == 0 && t.Threshold == nil && t.Bounds[0] < t.Bounds[1]
	switch f {
	case policies.FamilyLinear:
		return number
	case policies.FamilyLogistic:
		return binary
	case policies.FamilySoftmax:
		return t.Classes >= 3 && t.Classes <= maxClasses && len(t.Codes) == t.Classes && len(t.Positive) == 0 && t.Threshold == nil
	}
	return number || binary
}

// shaped says whether the learnt numbers have the number and range that the family has.
func (p *Parameters) shaped() bool {
	inputs, outputs := len(slotsOf(p.Features)), max(1, p.Target.Classes-1)
	coefficients, tables, trees, centres, pairs := 0, 0, 0, 0, 0
	switch p.Family {
	case policies.FamilyLinear, policies.FamilyLogistic, policies.FamilySoftmax:
		coefficients = outputs
	case policies.FamilyAdditive:
		pairs = len(p.Pairs)
		tables = len(p.Features) + pairs
	case policies.FamilyTree:
		trees = 1
	case policies.FamilyForest:
		trees = min(max(len(p.Trees), 1), 100)
	case policies.FamilyKMeans:
		centres = min(max(len(p.Centres), 1), maxClasses)
	}
	if len(p.Coefficients) != coefficients || len(p.Tables) != tables || len(p.Trees) != trees || len(p.Centres) != centres || len(p.Pairs) != pairs ||
		tables == 0 && p.Intercept != 0 || !number(p.Intercept) {
		return false
	}
	return p.sized(inputs)
}

func (p *Parameters) sized(inputs int) bool {
	for _, row := range p.Coefficients {
		if len(row) != inputs || !numbers(row) {
			return false
		}
	}
	for _, row := range p.Centres {
		if len(row) != inputs-1 || !numbers(row) {
			return false
		}
	}
	for _, q := range p.Pairs {
		if min(q[0], q[1]) < 0 || max(q[0], q[1]) >= len(p.Features) || q[0] == q[1] {
			return false
		}
	}
	for i, t := range p.tableTerms() {
		if len(p.Tables[i]) != t.size(p.Features) || !numbers(p.Tables[i]) {
			return false
		}
	}
	for i := range p.Trees {
		if !p.Trees[i].valid(p.Features, 0) || !p.Trees[i].plain() {
			return false
		}
	}
	return inputs <= maxCodes*maxFeatures && p.Count() <= 4*maxLeaves
}

// tableTerms are the terms of an additive model's tables; none of another.
func (p *Parameters) tableTerms() []term {
	if p.Family != policies.FamilyAdditive {
		return nil
	}
	var out []term
	for i := range p.Features {
		out = append(out, term{i, -1})
	}
	for _, q := range p.Pairs {
		out = append(out, term{q[0], q[1]})
	}
	return out
}

func number(x float64) bool { return !math.IsNaN(x) && math.Abs(x) <= maxTheta }

func numbers(row []float64) bool {
	return !slices.ContainsFunc(row, func(x float64) bool { return !number(x) })
}

// plain: every node but the root is the child of one split, and splits have no value,
// so that a tree has one spelling.
func (t *Tree) plain() bool {
	seen := make([]bool, len(t.Nodes))
	for _, n := range t.Nodes {
		if n.Left == 0 {
			continue
		}
		if n.Value != 0 || seen[n.Left] || seen[n.Right] {
			return false
		}
		seen[n.Left], seen[n.Right] = true, true
	}
	return !slices.Contains(seen[1:], false)
}
