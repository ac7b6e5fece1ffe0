package policies

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/budget"
	"github.com/sandgate/sandgate/internal/bilingual"
	"github.com/sandgate/sandgate/masking"
)

// families that are trained, and what each predicts.
var families = map[ModelFamily]struct{ number, binary, classes, none, exportable bool }{
	FamilyLinear:   {number: true, exportable: true},
	FamilyLogistic: {binary: true, exportable: true},
	FamilySoftmax:  {classes: true, exportable: true},
	FamilyAdditive: {number: true, binary: true, exportable: true},
	FamilyTree:     {number: true, binary: true, exportable: true},
	FamilyForest:   {number: true, binary: true, exportable: true},
	FamilyKMeans:   {none: true, exportable: true},
}

// RefusedFamilies are families that hold records, or can give them back, whatever is
// done to train them, and why (R02). They are named so that whoever asks for one is told.
var RefusedFamilies = map[ModelFamily]Text{
	"knn":         {ZH: "最近邻模型就是训练记录本身", EN: "a nearest-neighbour model is the training records themselves"},
	"svm":         {ZH: "支持向量就是训练记录", EN: "support vectors are training records"},
	"kernel":      {ZH: "核方法保存训练记录作为基点", EN: "a kernel method keeps training records as its base points"},
	"gp":          {ZH: "高斯过程保存全部训练记录", EN: "a Gaussian process keeps all training records"},
	"prototype":   {ZH: "原型模型保存选出的训练记录", EN: "a prototype model keeps chosen training records"},
	"kmedoids":    {ZH: "中心点就是训练记录", EN: "medoids are training records"},
	"embedding":   {ZH: "以标识为键的嵌入逐人保存参数", EN: "embeddings keyed by an identifier hold parameters of single persons"},
	"generative":  {ZH: "生成模型会复现训练记录", EN: "a generative model repeats training records"},
	"autoencoder": {ZH: "自编码器学习还原它的输入", EN: "an autoencoder learns to restore its input"},
	"gan":         {ZH: "生成模型会复现训练记录", EN: "a generative model repeats training records"},
	"vae":         {ZH: "生成模型会复现训练记录", EN: "a generative model repeats training records"},
	"diffusion":   {ZH: "生成模型会复现训练记录", EN: "a generative model repeats training records"},
	"llm":         {ZH: "语言模型会背诵训练文本", EN: "a language model recites training text"},
	"neural":      {ZH: "网络的参数足以记住单条记录", EN: "a network has parameters enough to remember single records"},
}

// Limits of a specification.
const (
	maxModelFeatures = 64
	maxModelPairs    = 32
	maxModelGroups   = 8
	maxModelBins     = 64
)

// Limits of prices and rows in force for models on a data set; ok is false where its
// department lets none be trained.
func (e Entry) Models() (families []ModelFamily, rho budget.Nano, rows int64, ok bool) {
	if e.Rule == nil || e.Rule.Models == nil {
		return nil, 0, 0, false
	}
	m := *e.Rule.Models
	rho = DefaultModelRho
	if m.Rho != "" {
		var err error
		if rho, err = budget.ParseLimit(m.Rho); err != nil {
			return nil, 0, 0, false // refused when the rule was set
		}
	}
	rows = m.RowsPerMonth
	if rows == 0 {
		rows = DefaultScoredRows
	}
	return m.Families, rho, rows, true
}

// checkModelRule holds a department's limits to those of the product.
func (e Entry) checkModelRule(r DisclosureRule) error {
	trains := false
	for _, uses := range r.Uses {
		trains = trains || slices.Contains(uses, UseTrain)
	}
	if r.Models == nil {
		if trains {
			return texts.Errorf("uses name train, and models is missing: name the families that may be trained")
		}
		return nil
	}
	m := *r.Models
	if !trains {
		return texts.Errorf("models: no column has the use train")
	}
	if e.Dataset.Public || r.Mode != "dp" {
		return texts.Errorf("models are trained on data sets in mode dp only: what they tell is charged to the budget")
	}
	if len(m.Families) == 0 {
		return texts.Errorf("models.families is missing")
	}
	for i, f := range m.Families {
		if err := checkFamily(f); err != nil {
			return texts.Errorf("models.families: %w", err)
		}
		if slices.Contains(m.Families[:i], f) {
			return texts.Errorf("models.families names %q twice", f)
		}
	}
	if m.Rho != "" {
		rho, err := budget.ParseLimit(m.Rho)
		if err != nil || rho <= 0 || rho > MostModelRho {
			return texts.Errorf("models.rho must be a ρ above 0 and at most %s (ε 2)", MostModelRho)
		}
	}
	if m.RowsPerMonth < 0 || m.RowsPerMonth > MostScoredRows {
		return texts.Errorf("models.rows_per_month must lie in 1…%d, or be left out", MostScoredRows)
	}
	return nil
}

func checkFamily(f ModelFamily) error {
	if why, ok := RefusedFamilies[f]; ok {
		return texts.Errorf("family %q is refused: %w", f, bilingual.Plain(why.ZH, why.EN))
	}
	if _, ok := families[f]; !ok && f != FamilyModule {
		return texts.Errorf("unknown family %q; known: linear, logistic, softmax, additive, tree, forest, kmeans, module", safeName(string(f)))
	}
	return nil
}

// Price is what a model costs, training and evaluation together. It errs on a price
// that is none.
func (m ModelSpec) Price() (training, evaluation budget.Nano, err error) {
	if evaluation, err = budget.ParsePrice(m.RhoEvaluation); err != nil || evaluation < LeastEvaluationRho {
		return 0, 0, texts.Errorf("rho_evaluation must be a ρ of at least %s, such as 0.002: the figures on held-out units cost it", LeastEvaluationRho)
	}
	if !m.Private {
		if m.Rho != "" {
			return 0, 0, texts.Errorf("rho is the price of a private model; leave it out, or set private: true")
		}
		return 0, evaluation, nil
	}
	if training, err = budget.ParsePrice(m.Rho); err != nil || training <= 0 {
		return 0, 0, texts.Errorf("rho must be a ρ above 0, such as 0.02: a private model's sums cost it")
	}
	return training, evaluation, nil
}

// costly says that every reviewer signs with two officials.
func (m ModelSpec) costly() bool {
	t, e, err := m.Price()
	return err != nil || t+e > DefaultModelRho
}

// ModelColumns are the columns a model reads: features, label, groups, once each.
func (m ModelSpec) ModelColumns() []string {
	var out []string
	add := func(name string) {
		if name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for _, f := range m.Features {
		add(f.Column)
	}
	add(m.Label.Column)
	for _, g := range m.Groups {
		add(g)
	}
	return out
}

// checkModelProduct checks the part of a product that a query has not.
func (b *Book) checkModelProduct(l Licence, p Product) error {
	if p.Job != JobModel || p.Model == nil {
		return texts.Errorf("a model and job: model go together; a query leaves both out")
	}
	if p.SQL != "" || p.Core != "" || len(p.Parameters) > 0 || p.Predicate != nil {
		return texts.Errorf("a model product has a model in the place of sql, core, parameters and predicate")
	}
	if !slices.Contains(l.Jobs, JobModel) {
		return texts.Errorf("licence %q does not grant jobs of kind model", l.ID)
	}
	if b.decideDatasetGrant(l, p.Model.Dataset) != nil {
		return texts.Errorf("licence %q does not grant data set %q", l.ID, safeName(p.Model.Dataset))
	}
	if err := b.checkModel(*p.Model); err != nil {
		return err
	}
	for _, c := range p.Model.ModelColumns() {
		if x := b.decideColumn(l, ColumnUse{p.Model.Dataset, c, UseTrain}); x != nil {
			return bilingual.Plain(x.ZH, x.EN)
		}
	}
	return nil
}

// checkModel holds a specification to the catalogue, masks and rule in force.
func (b *Book) checkModel(m ModelSpec) error {
	e, ok := b.datasets[m.Dataset]
	if !ok {
		return texts.Errorf("data set %q is not in the catalogue", safeName(m.Dataset))
	}
	if x := e.Ready(); x != nil {
		return bilingual.Plain(x.ZH, x.EN)
	}
	if e.Dataset.Unit == nil {
		return texts.Errorf("data set %q has no privacy unit: what a model tells of one could not be bounded", m.Dataset)
	}
	allowed, most, _, ok := e.Models()
	if !ok {
		return texts.Errorf("the department of data set %q lets no model be trained on it (models is absent from its Disclosure)", m.Dataset)
	}
	if err := checkFamily(m.Family); err != nil {
		return err
	}
	if !slices.Contains(allowed, m.Family) {
		return texts.Errorf("the department of data set %q does not allow family %q", m.Dataset, m.Family)
	}
	training, evaluation, err := m.Price()
	if err != nil {
		return err
	}
	if training+evaluation > most {
		return texts.Errorf("the model costs ρ %s and the department of data set %q allows %s", training+evaluation, m.Dataset, most)
	}
	if err := m.checkShape(e); err != nil {
		return err
	}
	stored, err := e.Stored()
	if err != nil {
		return err
	}
	cols := map[string]StoredColumn{}
	for _, c := range stored {
		cols[c.Column.Name] = c
	}
	for _, f := range m.Features {
		c, err := modelColumn(cols, f.Column)
		if err != nil {
			return err
		}
		if f.Column == m.Label.Column {
			return texts.Errorf("column %q is the label and cannot be a feature", f.Column)
		}
		if constant(c) {
			return texts.Errorf("feature %q is constant by its code list or bounds; leave it out", f.Column)
		}
		if f.Bins != 0 && (f.Bins < 2 || f.Bins > maxModelBins || c.Type.Kind == algebra.Text || c.Type.Kind == algebra.Bool || c.Grid != nil) {
			return texts.Errorf("feature %q: bins (2…%d) are for a number or date without a registered grid", f.Column, maxModelBins)
		}
	}
	for _, g := range m.Groups {
		c, err := modelColumn(cols, g)
		if err != nil {
			return err
		}
		if len(c.Column.Codes) == 0 && c.Type.Kind != algebra.Bool {
			return texts.Errorf("group %q needs a public code list", g)
		}
	}
	return m.checkLabel(cols)
}

// checkShape checks what needs no column.
func (m ModelSpec) checkShape(e Entry) error {
	f := families[m.Family]
	switch {
	case m.Release != ReleaseParameters && m.Release != ReleaseScores && m.Release != ReleaseAggregates:
		return texts.Errorf("unknown release %q; known: parameters, scores, aggregates", safeName(string(m.Release)))
	case m.Release == ReleaseParameters && m.Family != FamilyModule && (!m.Private || !f.exportable):
		return texts.Errorf("release: parameters needs private: true and a family with a parameter file; other models stay inside and answer by release: scores")
	case m.EncryptedScores && (!m.Private || m.Release != ReleaseScores || !m.linearFamily()):
		return texts.Errorf("encrypted_scores is for release: scores of a private model of family linear, logistic or softmax: scores of encrypted rows are exact and give the parameters away; release: parameters includes them")
	case len(m.Features) == 0 || len(m.Features) > maxModelFeatures:
		return texts.Errorf("features must name 1 to %d columns", maxModelFeatures)
	case len(m.Pairs) > 0 && m.Family != FamilyAdditive || len(m.Pairs) > maxModelPairs:
		return texts.Errorf("pairs (at most %d) are for family additive", maxModelPairs)
	case len(m.Groups) > maxModelGroups:
		return texts.Errorf("groups must name at most %d columns", maxModelGroups)
	case m.HoldOut != 0 && (m.HoldOut < 10 || m.HoldOut > 50):
		return texts.Errorf("hold_out must lie in 10…50 percent of the units")
	}
	most := 1
	if !e.Dataset.OneRow {
		most = int(e.Rule.MaxRows)
	}
	if m.RowsPerUnit < 0 || m.RowsPerUnit > most {
		return texts.Errorf("rows_per_unit must lie in 1…%d, the department's contribution bound", most)
	}
	if err := m.checkModule(); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, x := range m.Features {
		if seen[x.Column] {
			return texts.Errorf("feature %q stands twice", safeName(x.Column))
		}
		seen[x.Column] = true
	}
	for i, x := range m.Groups {
		if slices.Contains(m.Groups[:i], x) {
			return texts.Errorf("group %q stands twice", safeName(x))
		}
	}
	for i, x := range m.Pairs {
		if !seen[x[0]] || !seen[x[1]] || x[0] == x[1] || slices.Contains(m.Pairs[:i], x) || slices.Contains(m.Pairs[:i], [2]string{x[1], x[0]}) {
			return texts.Errorf("a pair names two features, and no pair stands twice")
		}
	}
	return m.Setting.check()
}

func (s ModelSettings) check() error {
	for _, x := range []struct {
		name     string
		v        int
		low, top int
	}{{"steps", s.Steps, 1, 200}, {"rounds", s.Rounds, 1, 200}, {"trees", s.Trees, 1, 100}, {"depth", s.Depth, 1, 10}, {"leaf", s.Leaf, 10, 10_000}, {"clusters", s.Clusters, 2, 64}} {
		if x.v != 0 && (x.v < x.low || x.v > x.top) {
			return texts.Errorf("settings.%s must lie in %d…%d", x.name, x.low, x.top)
		}
	}
	for _, x := range []struct {
		name     string
		v        float64
		low, top float64
	}{{"clip", s.Clip, 0.01, 100}, {"l2", s.L2, 0, 1}, {"rate", s.Rate, 0.001, 10}} {
		if x.v != 0 && !(x.v >= x.low && x.v <= x.top) { // not a number fails both
			return texts.Errorf("settings.%s must lie in %g…%g", x.name, x.low, x.top)
		}
	}
	return nil
}

// modelColumn is a stored column that a model can read: with a code list, of truth
// values, or a number or date with registered bounds. Every constant of a model is
// public that way.
func modelColumn(cols map[string]StoredColumn, name string) (StoredColumn, error) {
	c, ok := cols[name]
	switch {
	case !ok:
		return c, texts.Errorf("unknown column %q", safeName(name))
	case c.Drop || c.Column.Identifier != "":
		return c, texts.Errorf("column %q identifies a unit or is not stored, and no model reads it", name)
	case masking.OfTable(c.Mask.Op):
		return c, texts.Errorf("column %q is masked by %s: its values depend on other people's rows, and what a model tells of one could not be bounded", name, c.Mask.Op)
	case c.Type.Kind == algebra.Bool:
		return c, nil
	case len(c.Column.Codes) > 0 && c.Mask.Op == masking.OpKeep:
		return c, nil
	case c.Type.Kind != algebra.Text && c.Bounds != nil:
		return c, nil
	}
	return c, texts.Errorf("column %q needs a registered code list that is stored unmasked, or registered bounds: no constant of a model comes from the data", name)
}

func constant(c StoredColumn) bool {
	if c.Type.Kind == algebra.Bool {
		return false
	}
	if len(c.Column.Codes) > 0 && c.Mask.Op == masking.OpKeep {
		return len(c.Column.Codes) == 1
	}
	return c.Bounds[0] == c.Bounds[1]
}

func (m ModelSpec) checkLabel(cols map[string]StoredColumn) error {
	f := families[m.Family]
	if f.none {
		if m.Label.Column != "" || len(m.Label.Positive) > 0 || m.Label.Threshold != "" {
			return texts.Errorf("kmeans has no label")
		}
		return nil
	}
	if m.Label.Column == "" {
		if m.Family == FamilyModule && len(m.Label.Positive) == 0 && m.Label.Threshold == "" {
			return nil
		}
		return texts.Errorf("label.column is missing")
	}
	c, err := modelColumn(cols, m.Label.Column)
	if err != nil {
		return texts.Errorf("label: %w", err)
	}
	coded := c.Type.Kind == algebra.Bool || len(c.Column.Codes) > 0 && c.Mask.Op == masking.OpKeep
	binary := len(m.Label.Positive) > 0 || m.Label.Threshold != ""
	switch {
	case len(m.Label.Positive) > 0 && m.Label.Threshold != "":
		return texts.Errorf("label.positive and label.threshold exclude each other")
	case f.classes && (binary || !coded || len(c.Column.Codes) < 2):
		return texts.Errorf("softmax needs a label with a code list, and neither positive nor threshold")
	case !f.classes && coded && !binary, f.binary && !f.number && !binary, m.Family == FamilyModule && !binary:
		return texts.Errorf("label.positive (codes) or label.threshold (an edge of the registered grid) says which rows are class 1")
	case binary && !f.binary && m.Family != FamilyModule:
		return texts.Errorf("family %s predicts no class; leave positive and threshold out", m.Family)
	}
	if m.Label.Threshold != "" {
		v, err := parseStored(c.Type, m.Label.Threshold)
		if err != nil || coded || !slices.Contains(c.Grid, v.I) {
			return texts.Errorf("label.threshold is no edge of the registered grid of column %q as it is stored", m.Label.Column)
		}
	}
	if len(m.Label.Positive) > 0 {
		codes := []string{"false", "true"}
		if c.Type.Kind != algebra.Bool {
			codes = nil
			for _, x := range c.Column.Codes {
				codes = append(codes, x.Value)
			}
		}
		for i, x := range m.Label.Positive {
			if !slices.Contains(codes, x) || slices.Contains(m.Label.Positive[:i], x) {
				return texts.Errorf("label.positive holds what is not in the code list of column %q, or twice", m.Label.Column)
			}
		}
		if len(m.Label.Positive) == len(codes) {
			return texts.Errorf("label.positive names every code: all rows would be of one class")
		}
	}
	return nil
}
