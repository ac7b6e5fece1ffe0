// Package risk measures how far the people of a masked table can be told apart,
// by the quantities of GB/T 42460-2023 and its sharing models. It works on
// equivalence classes: groups of privacy units that agree in every quasi-identifier.
//
// The figures depend on the data. They are for the department that holds it;
// nothing here may leave the domain but the verdict.
//
// The package is pure: counts in, figures out.
package risk

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// Model 共享模型 of GB/T 37964-2019: to whom a table goes.
type Model string

const (
	Public     Model = "public"     // 完全公开: anybody, no terms
	Controlled Model = "controlled" // 受控公开: named recipients under an agreement
	Enclave    Model = "enclave"    // 领地公开: looked at inside, nothing taken away
)

// K returns the least size of an equivalence class, the inverse of the greatest
// re-identification risk τ of GB/T 42460-2023 annex D: 20 for public (1/20), 5 for
// controlled (1/5), 3 for enclave (1/3); false for an unknown model. A class of
// exactly K is accepted: 1/20 is also what the overall risk may be.
func (m Model) K() (int64, bool) {
	switch m {
	case Public:
		return 20, true
	case Controlled:
		return 5, true
	case Enclave:
		return 3, true
	}
	return 0, false
}

// MaxOverall is the greatest overall risk, data risk times context risk.
const MaxOverall = 0.05

// Level of a table by what identifies in it (GB/T 42460-2023).
type Level string

const (
	L1 Level = "L1" // direct identifiers are present
	L2 Level = "L2" // quasi-identifiers only, risk above a threshold
	L3 Level = "L3" // quasi-identifiers only, risk within the thresholds
	L4 Level = "L4" // no identifiers
)

// Class is one equivalence class. Size is the number of distinct units in it;
// Values[i] counts, for the i-th sensitive column, the units that hold each value
// there. A unit with several rows may count under several values of one column.
type Class struct {
	Size   int64
	Values []map[string]int64
}

// Sensitive column. Order lists its values ascending when they have an order: then
// t is their earth mover's distance with equal steps, else the total variation
// distance. A value that Order does not list is an error.
type Sensitive struct {
	Name  string
	Order []string
}

// Question is what is asked of a table.
type Question struct {
	Model     Model
	Context   float64 // 0…1, the probability of an attempt, which the official gives
	Direct    bool    // a direct identifier is among the columns
	Quasi     int     // number of quasi-identifiers
	Sensitive []Sensitive
}

// Diversity of one sensitive column over the classes, the worst class each time.
type Diversity struct {
	Name     string
	Distinct int64   // l: least number of distinct values in a class
	Entropy  float64 // entropy l: least exp(H) of a class
	T        float64 // t: greatest distance of a class from the whole table, 0…1
	// OneValue counts the units in classes with one value: theirs is known to
	// whoever knows the quasi-identifiers, however large the class.
	OneValue int64
}

// Report is what Assess finds.
type Report struct {
	Units   int64
	Classes int64
	K       int64           // size of the smallest class
	Sizes   map[int64]int64 // class size → number of classes
	Largest int64
	// Above are the units in classes smaller than the model's K, and their share.
	Above      int64
	AboveShare float64
	MaxRisk    float64 // 1/K: risk of a unit of the smallest class
	MeanRisk   float64 // classes per unit: mean risk over units
	// Overall is MaxRisk times the context risk. The mean risk is reported and not
	// used: it hides the few who are alone behind the many who are not.
	Overall   float64
	Diversity []Diversity
	Level     Level
	// Within says that the table meets the model: every class is large enough and
	// the overall risk is small enough, and no direct identifier is there.
	Within bool
}

// maxSize keeps sums of sizes inside 64 bits and exact as floating point.
const maxSize = int64(1) << 40

// Assess computes the report of a table's classes. The order of the classes does
// not matter. An empty table has no units, whose risk is 0.
func Assess(classes []Class, q Question) (Report, error) {
	var r Report
	least, ok := q.Model.K()
	if !ok {
		return r, fmt.Errorf("failed to assess risk: unknown sharing model %q; known: public, controlled, enclave", q.Model)
	}
	// Written so that NaN fails.
	if !(q.Context >= 0 && q.Context <= 1) {
		return r, errors.New("failed to assess risk: the context risk must lie in 0…1")
	}
	if q.Quasi == 0 && len(classes) > 1 {
		return r, errors.New("failed to assess risk: without quasi-identifiers there is one class")
	}
	r.Sizes = map[int64]int64{}
	for _, c := range classes {
		if c.Size < 1 || c.Size > maxSize || len(c.Values) != len(q.Sensitive) {
			return r, errors.New("failed to assess risk: a class is empty, too large, or lacks a sensitive column")
		}
		r.Units, r.Classes = r.Units+c.Size, r.Classes+1
		r.Sizes[c.Size]++
		r.Largest = max(r.Largest, c.Size)
		if r.K == 0 || c.Size < r.K {
			r.K = c.Size
		}
		if c.Size < least {
			r.Above += c.Size
		}
		if r.Units > maxSize {
			return r, errors.New("failed to assess risk: too many units")
		}
	}
	if r.Units > 0 {
		r.AboveShare = float64(r.Above) / float64(r.Units)
		r.MaxRisk, r.MeanRisk = 1/float64(r.K), float64(r.Classes)/float64(r.Units)
	}
	if q.Quasi == 0 && !q.Direct {
		// Nothing to find a unit by.
		r.MaxRisk, r.MeanRisk, r.Above, r.AboveShare = 0, 0, 0, 0
	}
	r.Overall = r.MaxRisk * q.Context
	for i, s := range q.Sensitive {
		d, err := diversity(classes, i, s)
		if err != nil {
			return r, err
		}
		r.Diversity = append(r.Diversity, d)
	}
	safe := r.Above == 0 && r.Overall <= MaxOverall
	switch {
	case q.Direct:
		r.Level = L1
	case q.Quasi == 0:
		r.Level = L4
	case safe:
		r.Level = L3
	default:
		r.Level = L2
	}
	r.Within = safe && !q.Direct
	return r, nil
}

func diversity(classes []Class, i int, s Sensitive) (Diversity, error) {
	d := Diversity{Name: s.Name}
	whole := map[string]int64{}
	for _, c := range classes {
		for v, n := range c.Values[i] {
			if n < 1 || n > c.Size {
				return d, errors.New("failed to assess risk: a value is held by no unit, or by more than the class has")
			}
			if s.Order != nil && !slices.Contains(s.Order, v) {
				return d, fmt.Errorf("failed to assess risk: column %q holds a value that its order does not list", s.Name)
			}
			whole[v] += n
		}
		if len(c.Values[i]) == 0 {
			return d, fmt.Errorf("failed to assess risk: a class has no value of column %q", s.Name)
		}
	}
	values := s.Order
	if values == nil {
		for v := range whole {
			values = append(values, v)
		}
		slices.Sort(values)
	}
	q := shares(whole, values)
	for n, c := range classes {
		p := shares(c.Values[i], values)
		l, e := int64(len(c.Values[i])), math.Exp(entropy(p))
		if n == 0 {
			d.Distinct, d.Entropy = l, e
		}
		d.Distinct, d.Entropy = min(d.Distinct, l), min(d.Entropy, e)
		d.T = max(d.T, distance(p, q, s.Order != nil))
		if l == 1 {
			d.OneValue += c.Size
		}
	}
	return d, nil
}

// shares are the counts of values over their sum, in the order of values.
func shares(counts map[string]int64, values []string) []float64 {
	sum := int64(0)
	for _, n := range counts {
		sum += n
	}
	out := make([]float64, len(values))
	for i, v := range values {
		if sum > 0 {
			out[i] = float64(counts[v]) / float64(sum)
		}
	}
	return out
}

func entropy(p []float64) float64 {
	h := 0.0
	for _, x := range p {
		if x > 0 {
			h -= x * math.Log(x)
		}
	}
	return h
}

// distance of two distributions: total variation, or for ordered values the earth
// mover's distance where the whole way from first to last is 1 (Li, Li and
// Venkatasubramanian, t-Closeness, ICDE 2007, section 4).
func distance(p, q []float64, ordered bool) float64 {
	sum, carried := 0.0, 0.0
	for i := range p {
		if carried += p[i] - q[i]; ordered {
			sum += math.Abs(carried)
		} else {
			sum += math.Abs(p[i] - q[i])
		}
	}
	switch {
	case !ordered:
		return sum / 2
	case len(p) < 2:
		return 0
	}
	return sum / float64(len(p)-1)
}

// Group builds the classes of rows held in memory. unit is the index of the
// column that names the privacy unit, −1 when every row is a unit of its own.
func Group(rows [][]string, unit int, quasi, sensitive []int) []Class {
	type building struct {
		units  map[string]bool
		values []map[string]map[string]bool // sensitive column → value → units
	}
	byKey := map[string]*building{}
	var keys []string
	var buf []byte
	for n, row := range rows {
		buf = buf[:0]
		for _, i := range quasi {
			// The length in front keeps a byte from moving between two values.
			buf = append(append(strconv.AppendInt(buf, int64(len(row[i])), 10), ':'), row[i]...)
		}
		b := byKey[string(buf)]
		if b == nil {
			b = &building{units: map[string]bool{}, values: make([]map[string]map[string]bool, len(sensitive))}
			for i := range b.values {
				b.values[i] = map[string]map[string]bool{}
			}
			key := string(buf)
			byKey[key], keys = b, append(keys, key)
		}
		id := strconv.Itoa(n)
		if unit >= 0 {
			id = row[unit]
		}
		b.units[id] = true
		for i, s := range sensitive {
			if b.values[i][row[s]] == nil {
				b.values[i][row[s]] = map[string]bool{}
			}
			b.values[i][row[s]][id] = true
		}
	}
	var out []Class
	for _, key := range keys {
		b := byKey[key]
		c := Class{Size: int64(len(b.units))}
		for i := range sensitive {
			counts := map[string]int64{}
			for v, units := range b.values[i] {
				counts[v] = int64(len(units))
			}
			c.Values = append(c.Values, counts)
		}
		out = append(out, c)
	}
	return out
}
