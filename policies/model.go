package policies

import "github.com/sandgate/sandgate/compute/budget"

// UseTrain lets a column be a feature, the label or a group of a model that is
// trained inside the domain. It is no use in a query.
const UseTrain Use = "train"

// ModelFamily 模型族 is what is trained. The set is closed: a family that keeps
// records (nearest neighbours, kernels, prototypes, embeddings, generators) is
// refused by name; see RefusedFamilies.
type ModelFamily string

// Families that can be trained.
const (
	FamilyLinear   ModelFamily = "linear"   // linear regression 线性回归
	FamilyLogistic ModelFamily = "logistic" // binary logistic regression 逻辑回归
	FamilySoftmax  ModelFamily = "softmax"  // multinomial logistic regression
	FamilyAdditive ModelFamily = "additive" // additive boosted model with pairwise terms (EBM) 可加提升模型
	FamilyTree     ModelFamily = "tree"     // histogram decision tree 决策树
	FamilyForest   ModelFamily = "forest"   // histogram decision forest 决策森林
	FamilyKMeans   ModelFamily = "kmeans"   // k-means on a registered grid 聚类
	// FamilyModule is the operator's own WebAssembly module: it is not trained, only
	// evaluated inside.
	FamilyModule ModelFamily = "module"
)

// ModelRelease is what may leave of a model that passed the gate.
type ModelRelease string

// Ways of release.
const (
	ReleaseParameters ModelRelease = "parameters" // a declarative parameter file; trained privately only
	ReleaseScores     ModelRelease = "scores"     // the scoring API alone: the model stays inside
	ReleaseAggregates ModelRelease = "aggregates" // of a module: noised counts of its scores, and what follows from them
)

// ModelSpec 模型规格 is a model as a product holds it: declared, reviewed and pinned.
// It names columns of one data set; nothing of it is code.
type ModelSpec struct {
	Dataset  string         `yaml:"dataset" json:"dataset"`
	Family   ModelFamily    `yaml:"family" json:"family"`
	Label    ModelLabel     `yaml:"label,omitempty" json:"label,omitzero"` // absent from kmeans
	Features []ModelFeature `yaml:"features" json:"features"`
	// Pairs of features whose joint effect an additive model learns.
	Pairs [][2]string `yaml:"pairs,omitempty" json:"pairs,omitempty"`
	// RowsPerUnit is how many rows of one privacy unit are used at most, 1…max_rows of
	// the department's rule; 0 is 1. Which ones is decided by a keyed order.
	RowsPerUnit int `yaml:"rows_per_unit,omitempty" json:"rows_per_unit,omitempty"`
	// HoldOut is the share of units kept out of training, in percent, 10…50; 0 is 20.
	HoldOut int `yaml:"hold_out,omitempty" json:"hold_out,omitempty"`
	// Private trains under zCDP: every sum that leaves the rows is noised. Rho is its
	// price, a decimal string; RhoEvaluation that of the figures on the held-out units,
	// which both private and other models pay.
	Private       bool   `yaml:"private,omitempty" json:"private,omitempty"`
	Rho           string `yaml:"rho,omitempty" json:"rho,omitempty"`
	RhoEvaluation string `yaml:"rho_evaluation" json:"rho_evaluation"`
	// Groups are columns with a public code list over which fairness is reported.
	Groups  []string     `yaml:"groups,omitempty" json:"groups,omitempty"`
	Release ModelRelease `yaml:"release" json:"release"`
	// EncryptedScores lets rows be scored while they stay encrypted. Their scores are
	// exact, and as many of them as there are parameters give the parameters: it is for
	// private models of a linear family, and what release: parameters includes.
	EncryptedScores bool          `yaml:"encrypted_scores,omitempty" json:"encrypted_scores,omitempty"`
	Setting         ModelSettings `yaml:"settings,omitempty" json:"settings,omitzero"`
	// Module names the operator's WebAssembly module, and Bounds where its scores lie;
	// family module alone.
	Module *ModelModule `yaml:"module,omitempty" json:"module,omitempty"`
	Bounds *ScoreBounds `yaml:"bounds,omitempty" json:"bounds,omitempty"`
}

// ModelLabel is what is predicted: a number, or which of the classes a row is in.
type ModelLabel struct {
	Column string `yaml:"column" json:"column"`
	// Positive are the codes (or, for a number or date, nothing) that make class 1 of a
	// binary label. Threshold instead makes class 1 of values at or above an edge of
	// the registered grid. Both are empty for linear regression and for softmax, whose
	// classes are the codes of the column's list.
	Positive  []string `yaml:"positive,omitempty" json:"positive,omitempty"`
	Threshold string   `yaml:"threshold,omitempty" json:"threshold,omitempty"`
}

// ModelFeature is one column as an input. Its kind follows from the catalogue: a code
// list makes categories; registered bounds make a number; a date is a number of days.
type ModelFeature struct {
	Column string `yaml:"column" json:"column"`
	// Bins is into how many equal parts the registered bounds are cut where the family
	// bins and the column has no registered grid, 2…64; 0 is 16.
	Bins int `yaml:"bins,omitempty" json:"bins,omitempty"`
}

// ModelSettings of the families. 0 takes the default in brackets: of a private model,
// then of another where they differ. A setting that the family does not have is refused.
type ModelSettings struct {
	Steps    int     `yaml:"steps,omitempty" json:"steps,omitempty"`       // passes over the rows, 1…200: logistic [8, 50], softmax [10, 200], kmeans [6, 30]
	Clip     float64 `yaml:"clip,omitempty" json:"clip,omitempty"`         // largest norm of one unit's gradient in private logistic [1] and softmax [2], 0.01…100
	L2       float64 `yaml:"l2,omitempty" json:"l2,omitempty"`             // ridge penalty of linear, logistic, softmax, 0…1 [0.0001]
	Rounds   int     `yaml:"rounds,omitempty" json:"rounds,omitempty"`     // additive: passes over the rows, 1…200 [12, 60]
	Rate     float64 `yaml:"rate,omitempty" json:"rate,omitempty"`         // learning rate, 0.001…10: logistic, softmax [1], additive [0.5]
	Trees    int     `yaml:"trees,omitempty" json:"trees,omitempty"`       // forest, 1…100 [20]
	Depth    int     `yaml:"depth,omitempty" json:"depth,omitempty"`       // 1…10: tree [4], forest [6]
	Leaf     int     `yaml:"leaf,omitempty" json:"leaf,omitempty"`         // fewest units of a leaf, of a class, half those of a training, 10…10000 [20]
	Clusters int     `yaml:"clusters,omitempty" json:"clusters,omitempty"` // kmeans, 2…64 [8]
}

// ModelRule is the owning department's limit on models trained on a data set. A data
// set whose rule has none trains no model.
type ModelRule struct {
	Families []ModelFamily `yaml:"families" json:"families"`
	// Rho is the most that a private model may cost, its evaluation included, a decimal
	// string; empty is DefaultModelRho (ε 1). Above it, up to MostModelRho (ε 2), every
	// reviewer of the product signs with two officials.
	Rho string `yaml:"rho,omitempty" json:"rho,omitempty"`
	// RowsPerMonth is how many rows an operator may have scored in a calendar month, by
	// all its models of the data set together; 0 is DefaultScoredRows.
	RowsPerMonth int64 `yaml:"rows_per_month,omitempty" json:"rows_per_month,omitempty"`
}

// Limits of models. The prices are those whose ε at δ 1e-6 is 1 and 2.
const (
	DefaultModelRho   budget.Nano = 24_355_970
	MostModelRho      budget.Nano = 88_000_000
	DefaultScoredRows             = 100_000
	MostScoredRows                = 10_000_000
)

// LeastEvaluationRho is the least price of a model's evaluation: training anew, with
// another verdict on other units, is never free.
const LeastEvaluationRho budget.Nano = 500_000
