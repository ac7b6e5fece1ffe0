package model

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/masking"
	"github.com/sandgate/sandgate/policies"
)

// Limits of a design.
const (
	maxFeatures   = 200
	maxGroups     = 8
	maxBins       = 64
	maxCodes      = 200
	maxClasses    = 64
	maxInputs     = 512     // columns of the design matrix
	maxParameters = 20_000  // coefficients, cells of tables, coordinates of centres
	maxLeaves     = 16_384  // of all trees
	maxWidth      = 1 << 22 // coordinates of one pass
	maxRowsOfUnit = 1000
)

// NewDesign holds a specification to the catalogue entry of its data set. Settings are
// completed with their defaults. Every error is a *policies.Reason that names the
// column and says what to do; nothing of it depends on data.
func NewDesign(spec policies.ModelSpec, e policies.Entry) (Design, error) {
	b := builder{entry: e}
	d, r := b.design(spec)
	if r != nil {
		return Design{}, r
	}
	if b.err != nil {
		return Design{}, fmt.Errorf("failed to read the catalogue of the model's data set: %w", b.err)
	}
	return d, nil
}

type builder struct {
	entry  policies.Entry
	stored map[string]policies.StoredColumn
	facts  protect.Facts
	err    error
}

func (b *builder) design(spec policies.ModelSpec) (d Design, r *policies.Reason) {
	if why, refused := policies.RefusedFamilies[spec.Family]; refused {
		return d, reason(CodeFamily, "不接受模型族 %s："+why.ZH+"，无法保证不可逆", "family %s is refused: "+why.EN+", so that it cannot be made irreversible",
			"改用 linear、logistic、softmax、additive、tree、forest 或 kmeans", "use linear, logistic, softmax, additive, tree, forest or kmeans", string(spec.Family))
	}
	if !slices.Contains([]policies.ModelFamily{policies.FamilyLinear, policies.FamilyLogistic, policies.FamilySoftmax, policies.FamilyAdditive,
		policies.FamilyTree, policies.FamilyForest, policies.FamilyKMeans, policies.FamilyModule}, spec.Family) {
		return d, reason(CodeFamily, "没有模型族 %s", "there is no family %s", "可用：linear、logistic、softmax、additive、tree、forest、kmeans、module", "known: linear, logistic, softmax, additive, tree, forest, kmeans, module", string(spec.Family))
	}
	if r = checkShape(spec); r != nil {
		return d, r
	}
	if _, _, r = prices(spec); r != nil {
		return d, r
	}
	if spec.Setting, r = completed(spec); r != nil {
		return d, r
	}
	if spec.RowsPerUnit == 0 || b.entry.Dataset.OneRow {
		spec.RowsPerUnit = 1
	}
	if spec.HoldOut == 0 && spec.Family != policies.FamilyModule {
		spec.HoldOut = 20
	}
	if r = b.open(spec); r != nil || b.err != nil {
		return d, r
	}
	d.Spec = spec
	if r = b.columns(&d); r != nil || b.err != nil {
		return d, r
	}
	return d, checkSize(d)
}

// checkShape finds what a specification gets wrong by itself.
func checkShape(s policies.ModelSpec) *policies.Reason {
	bad := func(zh, en, hintZH, hintEN string, args ...any) *policies.Reason {
		return reason(CodeSpec, zh, en, hintZH, hintEN, args...)
	}
	switch {
	case len(s.Features) == 0 || len(s.Features) > maxFeatures:
		return bad("特征列须为 1 到 %d 个", "a model has 1 to %d features", "在 features 中列出列名", "list columns under features", maxFeatures)
	case len(s.Groups) > maxGroups:
		return bad("分组列最多 %d 个", "at most %d groups", "减少 groups", "name fewer groups", maxGroups)
	case s.HoldOut != 0 && (s.HoldOut < 10 || s.HoldOut > 50):
		return bad("hold_out 须在 10 到 50（百分比）之间", "hold_out is 10 to 50 percent", "删去以取 20", "leave it out for 20")
	case s.RowsPerUnit < 0 || s.RowsPerUnit > maxRowsOfUnit:
		return bad("rows_per_unit 须在 1 到 %d 之间", "rows_per_unit is 1 to %d", "删去以取 1", "leave it out for 1", maxRowsOfUnit)
	case len(s.Pairs) > 0 && s.Family != policies.FamilyAdditive:
		return bad("只有 additive 可以写 pairs", "pairs are for family additive alone", "删去 pairs，或改用 additive", "leave pairs out, or use additive")
	case (s.Family == policies.FamilyModule) != (s.Module != nil && s.Bounds != nil):
		return bad("module 与 bounds 只用于、也必须用于模型族 module", "module and bounds belong to family module, and are needed there", "写 family: module、module 与 bounds，或三者都不写", "give family: module with module and bounds, or none of them")
	case s.Family == policies.FamilyModule && s.HoldOut != 0:
		return bad("模块不在此训练，没有留出的单元", "a module is not trained here: no units are held out", "删去 hold_out", "leave hold_out out")
	case s.Family == policies.FamilyKMeans && s.Label.Column != "":
		return bad("kmeans 没有标签", "kmeans takes no label", "删去 label", "leave label out")
	case s.Family != policies.FamilyKMeans && s.Family != policies.FamilyModule && s.Label.Column == "":
		return bad("缺少标签列", "the label is missing", "写 label.column", "give label.column")
	case (s.Family == policies.FamilyModule) != (s.Release == policies.ReleaseAggregates):
		return bad("release: aggregates 只用于、也必须用于模型族 module", "release: aggregates belongs to family module, and is needed there", "模块写 release: aggregates，其他模型族写 scores 或 parameters", "give release: aggregates for a module, scores or parameters for any other family")
	case s.Family != policies.FamilyModule && s.Release != policies.ReleaseParameters && s.Release != policies.ReleaseScores:
		return bad("release 须为 parameters 或 scores", "release is parameters or scores", "写 release: scores，或（private 时）release: parameters", "give release: scores or, when private, release: parameters")
	case s.Release == policies.ReleaseParameters && !s.Private:
		return bad("只有差分隐私训练的模型可以导出参数", "only a privately trained model may leave as parameters", "加上 private: true 与 rho，或写 release: scores", "add private: true and rho, or give release: scores")
	}
	if s.Bounds != nil && (!(s.Bounds.Low < s.Bounds.High) || s.Bounds.High-s.Bounds.Low > 1e10 || s.Bounds.Bins < 2 || s.Bounds.Bins > maxBins) {
		return bad("bounds 须 low 小于 high，bins 为 2 到 %d", "bounds need low below high and 2 to %d bins", "改正 bounds", "correct bounds", maxBins)
	}
	if s.Module != nil && !isDigest(s.Module.SHA256) {
		return bad("module 不是 SHA-256（64 位十六进制小写）", "module is no SHA-256 in 64 lower-case hexadecimal digits", "用 sandgate wasm check 取得", "sandgate wasm check prints it")
	}
	seen := map[string]bool{}
	for _, f := range s.Features {
		switch {
		case seen[f.Column]:
			return bad("特征列 %s 写了两次", "feature %s is named twice", "删去一处", "leave one out", f.Column)
		case f.Column == s.Label.Column && f.Column != "":
			return bad("标签列 %s 不能同时是特征", "label %s cannot be a feature too", "从 features 中删去", "take it out of features", f.Column)
		case f.Bins != 0 && (f.Bins < 2 || f.Bins > maxBins):
			return bad("特征列 %s 的 bins 须在 2 到 %d 之间", "bins of feature %s is 2 to %d", "删去以取 16", "leave it out for 16", f.Column, maxBins)
		}
		seen[f.Column] = true
	}
	for i, g := range s.Groups {
		if slices.Contains(s.Groups[:i], g) {
			return bad("分组列 %s 写了两次", "group %s is named twice", "删去一处", "leave one out", g)
		}
	}
	for i, p := range s.Pairs {
		if p[0] == p[1] || !seen[p[0]] || !seen[p[1]] || slices.Contains(s.Pairs[:i], p) || slices.Contains(s.Pairs[:i], [2]string{p[1], p[0]}) {
			return bad("第 %d 个特征对不是两个不同的特征，或已写过", "pair %d is no pair of two different features, or was named before", "只写 features 中的列，每对一次", "name columns of features, each pair once", i+1)
		}
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

// open reads the entry.
func (b *builder) open(spec policies.ModelSpec) *policies.Reason {
	if spec.Dataset != b.entry.Dataset.ID {
		return reason(CodeSpec, "模型规格的数据集与目录条目不同", "the specification names another data set than the catalogue entry", "改正 dataset", "correct dataset")
	}
	if r := b.entry.Ready(); r != nil {
		return r
	}
	if b.entry.Dataset.Unit == nil {
		return reason(CodeSpec, "数据集 %s 没有隐私单元，无需也不能在此训练", "data set %s has no privacy unit: nothing of it needs training in here", "公开数据可直接取用", "public data can be used as it is", b.entry.Dataset.ID)
	}
	if m := b.entry.Rule.MaxRows; m > 0 && int64(spec.RowsPerUnit) > m {
		return reason(CodeSpec, "rows_per_unit 超过部门规定的每单元最多 %d 行", "rows_per_unit is above the department's %d rows of a unit", "改小 rows_per_unit", "lower rows_per_unit", m)
	}
	all, err := b.entry.AllStored()
	if err != nil {
		b.err = err
		return nil
	}
	b.stored = map[string]policies.StoredColumn{}
	for _, c := range all {
		b.stored[c.Name] = c
	}
	if b.facts, err = protect.FactsOf(b.entry); err != nil {
		b.err = err
	}
	return nil
}

// column finds a stored column that a model may look at.
func (b *builder) column(name string) (policies.StoredColumn, *policies.Reason) {
	c, ok := b.stored[name]
	switch {
	case !ok:
		return c, reason(CodeColumn, "数据集没有列 %s", "the data set has no column %s", "用 sandgate catalogue 查看列名", "sandgate catalogue lists the columns", name)
	case c.Column.Name == b.entry.Dataset.Unit.Column:
		return c, reason(CodeColumn, "列 %s 是隐私单元的标识，不能用于模型", "column %s identifies the privacy unit and is no input of a model", "换一列", "choose another column", name)
	case c.Drop:
		return c, reason(CodeColumn, "列 %s 不入库", "column %s is not stored", "换一列，或请数源部门改变脱敏规则", "choose another column, or ask the department to change its mask", name)
	case c.Mask.Op == masking.OpPseudonym:
		return c, reason(CodeColumn, "列 %s 是假名，其值逐人不同", "column %s holds pseudonyms, which stand for single persons", "换一列", "choose another column", name)
	}
	return c, nil
}

// feature makes an input of a column, by the catalogue alone.
func (b *builder) feature(f policies.ModelFeature) (Feature, *policies.Reason) {
	c, r := b.column(f.Column)
	if r != nil {
		return Feature{}, r
	}
	out := Feature{Column: c.Name, Type: c.Type.Kind, Nullable: c.Column.Nullable || masking.MayNull(c.Mask.Op)}
	if len(c.Column.Codes) > 0 || c.Type.Kind == algebra.Bool {
		out.Kind, out.Codes = KindCategory, b.codes(c)
		switch {
		case f.Bins != 0:
			return out, reason(CodeColumn, "列 %s 有代码表，不能写 bins", "column %s has a code list and takes no bins", "删去 bins", "leave bins out", f.Column)
		case len(out.Codes) > maxCodes:
			return out, reason(CodeColumn, "列 %s 的代码多于 %d 个", "column %s has more than %d codes", "请数源部门以概化脱敏合并代码", "ask the department for a mask that merges codes", f.Column, maxCodes)
		case len(out.Codes) < 2:
			return out, constant(f.Column)
		}
		return out, nil
	}
	if c.Bounds == nil || c.Type.Kind != algebra.Int && c.Type.Kind != algebra.Decimal && c.Type.Kind != algebra.Date {
		return out, reason(CodeColumn, "列 %s 既没有登记的取值范围，也没有代码表", "column %s has neither registered bounds nor a code list", "请数源部门登记 bounds 或 codes", "ask the department to register bounds or codes", f.Column)
	}
	out.Kind, out.Bounds, out.Scale = KindNumber, *c.Bounds, int(c.Type.Scale)
	if out.Bounds[0] >= out.Bounds[1] {
		return out, constant(f.Column)
	}
	out.Edges = edges(c, f.Bins)
	return out, nil
}

func constant(column string) *policies.Reason {
	return reason(CodeConstant, "按目录，列 %s 只有一个值", "by the catalogue, column %s has one value", "换一列", "choose another column", column)
}

// edges are the inner edges of a number's bins: of its registered grid, thinned evenly
// to the number of bins asked for, or equal parts of its bounds.
func edges(c policies.StoredColumn, bins int) []int64 {
	lo, hi := c.Bounds[0], c.Bounds[1]
	if len(c.Grid) >= 2 {
		inner := c.Grid[1 : len(c.Grid)-1]
		if bins == 0 {
			bins = maxBins
		}
		if n := bins - 1; len(inner) > n {
			thin := make([]int64, n)
			for i := range thin {
				thin[i] = inner[(i+1)*(len(inner)+1)/(n+1)-1]
			}
			inner = thin
		}
		return slices.Clone(inner)
	}
	if bins == 0 {
		bins = 16
	}
	var out []int64
	for i := 1; i < bins; i++ {
		// hi-lo is at most 2^54, so that the product stays inside 63 bits.
		if e := lo + (hi-lo+1)*int64(i)/int64(bins); e > lo && (len(out) == 0 || e > out[len(out)-1]) {
			out = append(out, e)
		}
	}
	return out
}

// codes are a column's registered codes after its mask, as they are spelled.
func (b *builder) codes(c policies.StoredColumn) []string {
	var out []string
	for _, v := range b.facts.Columns[c.Name].Codes {
		out = append(out, spelled(v))
	}
	return out
}

func spelled(v algebra.Value) string {
	switch v.Type.Kind {
	case algebra.Text:
		return v.S
	case algebra.Bool:
		return strconv.FormatBool(v.I != 0)
	case algebra.Date:
		return algebra.FormatDate(v.I)
	}
	return strconv.FormatInt(v.I, 10)
}

// columns fills in features, target, groups and the columns to read.
func (b *builder) columns(d *Design) *policies.Reason {
	add := func(name string) {
		if !slices.Contains(d.Columns, name) {
			d.Columns = append(d.Columns, name)
		}
	}
	for _, f := range d.Spec.Features {
		x, r := b.feature(f)
		if r != nil {
			return r
		}
		d.Features = append(d.Features, x)
		add(x.Column)
	}
	if d.Spec.Label.Column != "" {
		if r := b.target(d); r != nil {
			return r
		}
		add(d.Target.Column)
	}
	for _, g := range d.Spec.Groups {
		x, r := b.feature(policies.ModelFeature{Column: g})
		if r != nil {
			return r
		}
		if x.Kind != KindCategory {
			return reason(CodeColumn, "分组列 %s 没有代码表", "group %s has no code list", "换一列有代码表的列", "choose a column with a code list", g)
		}
		d.Groups = append(d.Groups, x)
		add(x.Column)
	}
	return nil
}

// Digest names the design: the SHA-256 of its canonical JSON. What a trainer chooses
// without data (splits of private trees) is drawn from it.
func (d Design) Digest() [32]byte {
	text, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("model: a checked design does not marshal: %v", err))
	}
	return sha256.Sum256(append([]byte("sandgate/model-design/v1\n"), text...))
}
