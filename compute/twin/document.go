package twin

import (
	"github.com/sandgate/sandgate/compute/budget"
)

// Format is the twin document's name and version.
const Format = "sandgate-twin/v1"

// MaxFile is the largest twin document, in bytes.
const MaxFile = 24 << 20

// scale is what the weights of a distribution sum to, about. All of them are integers,
// so that a twin gives the same rows on every machine.
const (
	scale     = 1 << 16
	maxWeight = 1 << 24
)

// Twin 合成孪生 is a learned twin: constants of the catalogue and integer weights, no
// code. Everything in it that comes from data is post-processing of released sums.
type Twin struct {
	Format string `json:"format"`
	// SchemaDigest is Schema.Digest of what was learned; see Stale.
	SchemaDigest string      `json:"schema_digest"`
	Dataset      string      `json:"dataset"`
	Columns      []Column    `json:"columns"`
	Generated    []Generated `json:"generated,omitempty"`
	Rho          string      `json:"rho"`   // what the passes that were asked cost
	Units        int64       `json:"units"` // noisy count
	// Noise is the standard deviation of the noise in each count of a pass, by pass, in
	// thousandths of a unit. Rare is the noisy count below which a cell is never drawn.
	Noise         []int64 `json:"noise"`
	Rare          int64   `json:"rare"`
	MarginalsOnly bool    `json:"marginals_only,omitempty"` // the budget was too small for pairs
	// Lengths are the weights of units by number of rows, from one.
	Lengths []int64 `json:"lengths"`
	// Groups give the group of each cell of a column, Cells the weight of each within
	// its group; 0 is never drawn.
	Groups [][]int   `json:"groups"`
	Cells  [][]int64 `json:"cells"`
	// Order is how the columns of a row are drawn.
	Order   []Vertex `json:"order"`
	Quality Quality  `json:"quality"`
}

// Vertex draws the group of a column given those of its parents: none, one, or two of
// which one is a parent of the other. Weights has a row for each group of the first
// parent and, within it, of the second.
type Vertex struct {
	Column  int       `json:"column"`
	Parents []int     `json:"parents,omitempty"`
	Weights [][]int64 `json:"weights"`
}

// Stale refuses a twin whose catalogue entry has changed since it was learned.
func (t *Twin) Stale(s Schema) error {
	if t.SchemaDigest != s.Digest() {
		return reason(CodeStale, "数据集 %s 的目录在孪生学成之后已改变：孪生已过期", "the catalogue of data set %s changed since its twin was learned: the twin is stale",
			"请数源部门重新发布孪生", "ask the department to publish a twin again", t.Dataset)
	}
	return nil
}

// document is a Twin with its digest, which is the last field.
type document struct {
	*Twin
	Digest string `json:"digest,omitempty"`
}

func (t *Twin) with(digest string) any { return document{t, digest} }

// Digest is the SHA-256 of the canonical encoding without its digest field, in
// hexadecimal.
func (t *Twin) Digest() (string, error) { return digestOf(Format, t) }

// Encode writes the document: one line of canonical JSON that ends with the digest of
// the rest. Equal twins give equal bytes.
func (t *Twin) Encode() ([]byte, error) { return encode(t) }

func badFile(zh, en string) error {
	return reason(CodeFile, "不是有效的孪生文件："+zh, "this is no valid twin document: "+en, "向发布方重新取得文件，不要改动", "get the file again from who released it, and do not change it")
}

// Parse reads a twin document. It takes the canonical encoding alone: an unknown field,
// another spelling or order, a number out of range, a digest that does not fit is a
// *policies.Reason with CodeFile.
func Parse(text []byte) (*Twin, error) {
	f := document{Twin: &Twin{}}
	if err := parse(text, &f, f.Twin, &f.Digest); err != nil {
		return nil, err
	}
	return f.Twin, nil
}

// check holds a twin to the format: everything that a sampler relies on.
func (t *Twin) check() error {
	if t == nil || t.Format != Format {
		return badFile("格式不是 "+Format, "the format is not "+Format)
	}
	if !isDigest(t.SchemaDigest) || t.Dataset == "" || len(t.Dataset) > maxName {
		return badFile("数据集或结构摘要不符", "the data set or the digest of the schema is wrong")
	}
	if n, err := budget.ParsePrice(t.Rho); err != nil || n <= 0 || n.String() != t.Rho {
		return badFile("rho 不是规范的十进制数", "rho is no canonical decimal number")
	}
	if t.Units < 1 || t.Units > 1<<40 || t.Rare < 0 || len(t.Noise) < 1 || len(t.Noise) > 3 {
		return badFile("计数或噪声不符", "a count or the noise is out of range")
	}
	for _, x := range t.Noise {
		if x < 0 {
			return badFile("计数或噪声不符", "a count or the noise is out of range")
		}
	}
	if len(t.Lengths) < 1 || len(t.Lengths) > maxRowsOfUnit || !weighed(t.Lengths) {
		return badFile("每单元行数的权重不符", "the weights of rows per unit are wrong")
	}
	if !t.columnsHold() {
		return badFile("列的常数不符", "a constant of a column is out of range")
	}
	if !t.cellsHold() {
		return badFile("分组或单元格的权重不符", "the groups or weights of cells are wrong")
	}
	if !t.orderHolds() {
		return badFile("列的次序、父列或权重不符", "the order, a parent or a weight of it is wrong")
	}
	if !t.Quality.holds(t.Columns) {
		return badFile("质量数字不符", "a figure of quality is out of range")
	}
	return nil
}

func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// weighed says whether weights are a distribution.
func weighed(w []int64) bool {
	sum := int64(0)
	for _, x := range w {
		if x < 0 || x > maxWeight {
			return false
		}
		sum += x
	}
	return sum > 0 && sum <= maxWeight
}
