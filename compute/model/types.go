package model

import (
	"context"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/policies"
)

// Kind of a feature, from the catalogue.
type Kind string

// Kinds of features.
const (
	KindNumber   Kind = "number"   // integer minimal units within registered bounds; dates are days since 1970-01-01
	KindCategory Kind = "category" // index in the registered code list; a Bool has two
)

// Feature is one input of a design. Every constant of it comes from the catalogue.
type Feature struct {
	Column string `json:"column"` // as it is stored
	Kind   Kind   `json:"kind"`
	// Type of the stored values: of a category, how its codes are spelled.
	Type algebra.Kind `json:"type"`
	// Bounds of a number, in stored units; Edges cut it into bins (ascending, inner
	// edges: bin b holds Edges[b-1] <= v < Edges[b]).
	Bounds [2]int64 `json:"bounds,omitzero"`
	Edges  []int64  `json:"edges,omitempty"`
	Scale  int      `json:"scale,omitempty"` // decimal places of the stored integer
	Codes  []string `json:"codes,omitempty"` // of a category, in the order of the list
	// Nullable: the catalogue lets it be missing, so that being missing is an input of
	// its own.
	Nullable bool `json:"nullable,omitempty"`
}

// Bins is how many bins the feature has: of its edges or codes, and a last one for
// what is missing.
func (f Feature) Bins() int {
	if f.Kind == KindCategory {
		return len(f.Codes) + 1
	}
	return len(f.Edges) + 2
}

// Target is the label of a design.
type Target struct {
	Column string       `json:"column,omitempty"` // as it is stored; empty for kmeans
	Type   algebra.Kind `json:"type,omitempty"`
	// Classes is 0 for a number, 2 for a binary label, otherwise the codes' number.
	Classes   int      `json:"classes"`
	Codes     []string `json:"codes,omitempty"`    // the column's list; the classes of softmax
	Positive  []string `json:"positive,omitempty"` // codes of class 1
	Threshold *int64   `json:"threshold,omitempty"`
	Bounds    [2]int64 `json:"bounds,omitzero"` // of a number, to scale it
	Scale     int      `json:"scale,omitempty"`
}

// Design is a specification held to the catalogue: what is read, and how it is coded.
// It is made by NewDesign alone and not changed afterwards.
type Design struct {
	Spec     policies.ModelSpec `json:"spec"`
	Features []Feature          `json:"features"`
	Target   Target             `json:"target,omitzero"`
	Groups   []Feature          `json:"groups,omitempty"`
	// Columns are the stored columns to read, in order and once each: features, label,
	// groups.
	Columns []string `json:"columns"`
}

// Data is coded rows. Rows of one unit lie together. It is not changed once made.
type Data struct {
	Units  []int32     // row → unit, 0…Count-1, ascending
	Count  int         // units
	Bins   [][]uint16  // feature → row → bin; the last bin is missing
	Values [][]float32 // feature → row → value scaled from its bounds to [-1, 1]; 0 when missing; nil for a category
	Label  []float32   // row → class, or number scaled from its bounds to [-1, 1]
	Groups [][]uint16  // group → row → code, the last one missing
	Exact  [][]int64   // feature → row → stored integer within its bounds; of numbers of a module's design alone
}

// Rows is how many rows there are.
func (d *Data) Rows() int { return len(d.Units) }

// Oracle answers a pass with sums over the units it trains on.
type Oracle interface {
	// Sums returns one integer per coordinate of the pass, in units of its lattice step.
	Sums(ctx context.Context, p Pass) ([]int64, error)
}

// PassKind is what is summed.
type PassKind string

// Kinds of passes. Every unit counts once: its contribution is the mean over its rows,
// cut to the pass's norm.
const (
	PassMoments   PassKind = "moments"   // linear, logistic, softmax: units, XᵀX (upper triangle) and XᵀY
	PassGradient  PassKind = "gradient"  // logistic, softmax: gradients of the likelihood at Theta
	PassBins      PassKind = "bins"      // additive, tree, forest: per node of Trees[0], term and bin the two halves of the label
	PassResiduals PassKind = "residuals" // additive: per term and bin the residual at Theta
	PassLeaves    PassKind = "leaves"    // tree, forest: per tree and leaf the two halves of the label
	PassClusters  PassKind = "clusters"  // kmeans: weight, coordinate sums and squares by nearest centre (Theta)
	PassScores    PassKind = "scores"    // evaluation of Model: held-out units by label, score bin and group
)

// Pass asks for sums. Each unit's contribution is clipped to an L2 norm of Norm
// lattice steps before it is added, so Norm is the sensitivity, adding or removing a unit.
type Pass struct {
	Kind PassKind `json:"kind"`
	// Rho is what the pass is charged; 0 asks for exact sums, which leave no worker.
	Rho budget.Nano `json:"rho,omitempty"`
	// Norm is the L2 sensitivity in lattice steps.
	Norm  int64   `json:"norm"`
	Step  float64 `json:"step"` // value of one lattice step
	Width int     `json:"width"`
	// Theta are the parameters that the pass looks at, by kind.
	Theta []float64 `json:"theta,omitempty"`
	// Trees are those the pass routes rows through (bins: the one grown so far; leaves).
	Trees []Tree `json:"trees,omitempty"`
	// Model is what a scores pass evaluates; absent of a module, whose scores the
	// caller brings (ScoreSums).
	Model *Parameters `json:"model,omitempty"`
}

// Tree is a decision tree; Nodes[0] is its root.
type Tree struct {
	Nodes []Node `json:"nodes"`
}

// Node is a split, or a leaf when Left is 0. Rows go left whose bin of Feature is below
// Bin, or equal to it when Equal (a category).
type Node struct {
	Feature int  `json:"feature,omitempty"`
	Bin     int  `json:"bin,omitempty"`
	Equal   bool `json:"equal,omitempty"`
	Left    int  `json:"left,omitempty"`
	Right   int  `json:"right,omitempty"`
	// Cell of a leaf is where a pass puts its sums, counted from 1; 0: not summed.
	Cell int `json:"cell,omitempty"`
	// Value of a leaf: the probability of class 1, or the number scaled to [-1, 1].
	Value float64 `json:"value,omitempty"`
}

// Scorer gives scores to rows: of a class model the probability of each class but the
// first (one number for a binary label), of a number the number scaled to [-1, 1], of
// kmeans the index of the nearest centre. It is safe for concurrent use.
type Scorer interface {
	// Score writes Width numbers per row of d into out, row by row.
	Score(d *Data, out []float64)
	Width() int
}
