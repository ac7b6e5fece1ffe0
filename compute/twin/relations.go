package twin

import (
	"github.com/sandgate/sandgate/compute/budget"
)

// RelationsFormat is the document's name and version.
const RelationsFormat = "sandgate-relations/v1"

// Relations 跨表关系 tie the twins of a pool's tables by the unit: a synthetic unit is the
// same in all of them. Everything in it that comes from data is post-processing of
// released sums; the twins themselves are as they were.
type Relations struct {
	Format string `json:"format"`
	Span   Span   `json:"span"`
	Rho    string `json:"rho"`
	Units  int64  `json:"units"` // with a row in any table, noisy
	// Noise is the standard deviation of the noise in each count of a pass, in
	// thousandths of a unit.
	Noise []int64 `json:"noise"`
	Ties  []Tie   `json:"ties"` // a tree; a parent comes before its children
	// Quality is the distance of all pairs of columns across tables, presence among
	// them; see Figure.
	Quality Figure `json:"quality"`
}

// Tie draws the state of a table's link (no row, or a group) given that of its parent's.
// The root has the parent −1 and two states: no row, and some.
type Tie struct {
	Table      int       `json:"table"`
	Parent     int       `json:"parent"`
	Link       int       `json:"link"`
	ParentLink int       `json:"parent_link"`
	Weights    [][]int64 `json:"weights"`
}

type relationsDocument struct {
	*Relations
	Digest string `json:"digest,omitempty"`
}

func (r *Relations) with(digest string) any { return relationsDocument{r, digest} }

// Digest is the SHA-256 of the canonical encoding without its digest field, in
// hexadecimal.
func (r *Relations) Digest() (string, error) { return digestOf(RelationsFormat, r) }

// Encode writes the document: one line of canonical JSON that ends with the digest of
// the rest. Equal relations give equal bytes.
func (r *Relations) Encode() ([]byte, error) { return encode(r) }

// ParseRelations reads a document, as Parse reads a twin: the canonical encoding alone.
func ParseRelations(text []byte) (*Relations, error) {
	f := relationsDocument{Relations: &Relations{}}
	if err := parse(text, &f, f.Relations, &f.Digest); err != nil {
		return nil, err
	}
	return f.Relations, nil
}

// check holds relations to the format: everything that Linked relies on but for the
// twins themselves.
func (r *Relations) check() error {
	if r == nil || r.Format != RelationsFormat {
		return badFile("格式不是 "+RelationsFormat, "the format is not "+RelationsFormat)
	}
	if !r.Span.holds() {
		return badFile("数据集或列不符", "a data set or column is wrong")
	}
	if n, err := budget.ParsePrice(r.Rho); err != nil || n != r.Span.Rho || n.String() != r.Rho {
		return badFile("rho 不是规范的十进制数", "rho is no canonical decimal number")
	}
	if r.Units < 1 || r.Units > 1<<40 || len(r.Noise) != 2 || r.Noise[0] < 0 || r.Noise[1] < 0 || !r.Quality.holds() {
		return badFile("计数、噪声或质量数字不符", "a count, the noise or a figure of quality is out of range")
	}
	if !r.tiesHold() {
		return badFile("关系的次序或权重不符", "the order or a weight of the relations is wrong")
	}
	return nil
}

func (r *Relations) tiesHold() bool {
	if len(r.Ties) != len(r.Span.Tables) {
		return false
	}
	seen := map[int]bool{}
	for i, t := range r.Ties {
		if t.Table < 0 || t.Table >= len(r.Span.Tables) || seen[t.Table] || (t.Parent == -1) != (i == 0) {
			return false
		}
		rows, cols := 1, 2
		if i > 0 {
			if !seen[t.Parent] || t.Link < 0 || t.Link >= len(r.Span.Tables[t.Table].Links) || t.ParentLink < 0 || t.ParentLink >= len(r.Span.Tables[t.Parent].Links) {
				return false
			}
			rows, cols = states(r.Span.Tables[t.Parent].Links[t.ParentLink].Many), states(r.Span.Tables[t.Table].Links[t.Link].Many)
		} else if t.Link != 0 || t.ParentLink != 0 {
			return false
		}
		if len(t.Weights) != rows {
			return false
		}
		for _, w := range t.Weights {
			if len(w) != cols || !weighed(w) {
				return false
			}
		}
		seen[t.Table] = true
	}
	return true
}
