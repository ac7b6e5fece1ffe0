package model

import (
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// target fills in the label: what it must be follows from the family.
func (b *builder) target(d *Design) *policies.Reason {
	l := d.Spec.Label
	c, r := b.column(l.Column)
	if r != nil {
		return r
	}
	t := &d.Target
	t.Column, t.Type, t.Scale = c.Name, c.Type.Kind, int(c.Type.Scale)
	coded := len(c.Column.Codes) > 0 || c.Type.Kind == algebra.Bool
	number := c.Bounds != nil && (c.Type.Kind == algebra.Int || c.Type.Kind == algebra.Decimal || c.Type.Kind == algebra.Date)
	bad := func(zh, en, hintZH, hintEN string) *policies.Reason {
		return reason(CodeLabel, zh, en, hintZH, hintEN, l.Column)
	}
	switch {
	case l.Threshold != "" && len(l.Positive) > 0:
		return bad("标签列 %s 同时写了 positive 与 threshold", "label %s has both positive and threshold", "只写其一", "give one of them")
	case l.Threshold != "":
		if !number || coded {
			return bad("标签列 %s 不是有登记范围的数值，不能用 threshold", "label %s is no number with registered bounds and takes no threshold", "改用 positive", "use positive")
		}
		v, err := threshold(c.Type, l.Threshold)
		if err == nil && v <= c.Bounds[0] {
			return bad("标签列 %s 的 threshold 位于取值范围的下限：每一行都属于同一类", "the threshold of label %s is at the lower bound of its column: every row would be of one class", "取网格中更高的一条边界；上限可用，由达到上限的行构成一类", "take a higher edge of the grid; the upper bound is one, and a class of those who reach it")
		}
		if err != nil || !slices.Contains(c.Grid, v) || v > c.Bounds[1] {
			return bad("标签列 %s 的 threshold 不是登记网格中取值范围以内的边界", "the threshold of label %s is no edge of its registered grid within its bounds", "取网格的一条边界，或请数源部门登记 grid", "take an edge of the grid, or ask the department to register one")
		}
		t.Threshold, t.Classes = &v, 2
	case coded:
		if r := b.codedTarget(t, c, l); r != nil {
			return r
		}
	case !number:
		return bad("标签列 %s 既没有登记的取值范围，也没有代码表", "label %s has neither registered bounds nor a code list", "请数源部门登记 bounds 或 codes", "ask the department to register bounds or codes")
	case len(l.Positive) > 0:
		return bad("标签列 %s 没有代码表，不能用 positive", "label %s has no code list and takes no positive codes", "改用 threshold", "use threshold")
	case c.Bounds[0] >= c.Bounds[1]:
		return constant(l.Column)
	default:
		t.Bounds = *c.Bounds
	}
	return fits(d)
}

func threshold(t algebra.Type, s string) (int64, error) {
	if t.Kind == algebra.Date {
		return algebra.ParseDate(s)
	}
	return algebra.ParseDecimal(s, t.Scale)
}

func (b *builder) codedTarget(t *Target, c policies.StoredColumn, l policies.ModelLabel) *policies.Reason {
	t.Codes, t.Positive = b.codes(c), slices.Clone(l.Positive)
	if c.Type.Kind == algebra.Bool && len(t.Positive) == 0 {
		t.Positive = []string{"true"}
	}
	for i, p := range t.Positive {
		if !slices.Contains(t.Codes, p) || slices.Contains(t.Positive[:i], p) {
			return reason(CodeLabel, "标签列 %s 的第 %d 个 positive 代码不在代码表中或已写过", "positive code %[2]d of label %[1]s is not in the code list, or was named before", "取代码表中的代码，各一次", "name codes of the list, each once", l.Column, i+1)
		}
	}
	switch {
	case len(t.Codes) < 2:
		return constant(l.Column)
	case len(t.Positive) == len(t.Codes):
		return reason(CodeLabel, "标签列 %s 的全部代码都列为 positive", "all codes of label %s are positive", "至少留一个代码给另一类", "leave a code to the other class", l.Column)
	case len(t.Positive) > 0:
		t.Classes = 2
	case len(t.Codes) > maxClasses:
		return reason(CodeLabel, "标签列 %s 的类别多于 %d 个", "label %s has more than %d classes", "用 positive 归为两类", "make two classes with positive", l.Column, maxClasses)
	default:
		t.Classes = len(t.Codes)
	}
	return nil
}

// fits holds the target to the family.
func fits(d *Design) *policies.Reason {
	classes, binary, column := d.Target.Classes, len(d.Target.Positive) > 0 || d.Target.Threshold != nil, d.Spec.Label.Column
	switch d.Spec.Family {
	case policies.FamilyLinear:
		if classes == 0 {
			return nil
		}
		return reason(CodeLabel, "linear 的标签 %s 须为数值", "label %s of a linear model must be a number", "换一列，或改用 logistic", "choose another column, or family logistic", column)
	case policies.FamilySoftmax:
		if classes >= 3 && !binary {
			return nil
		}
		return reason(CodeLabel, "softmax 的标签 %s 须有 3 个以上代码，且不写 positive 与 threshold", "label %s of softmax needs three codes or more, without positive or threshold", "改用 logistic", "use logistic", column)
	case policies.FamilyLogistic:
		if binary {
			return nil
		}
	case policies.FamilyModule:
		if binary {
			return nil
		}
	default:
		if binary || classes == 0 {
			return nil
		}
	}
	return reason(CodeLabel, "标签 %s 须分为两类", "label %s must be made two classes", "用 label.positive 列出第一类的代码，或用 label.threshold 取网格边界", "name the codes of class 1 in label.positive, or an edge of the grid in label.threshold", column)
}

// checkSize refuses a design whose model or passes would be too large.
func checkSize(d Design) *policies.Reason {
	large := func(what [2]string, n, limit int) *policies.Reason {
		return reason(CodeTooLarge, "模型有 %d 个"+what[0]+"，上限为 %d", "the model has %d "+what[1]+", the limit is %d",
			"减少特征、代码、bins、pairs、trees、depth 或 clusters", "use fewer features, codes, bins, pairs, trees, clusters or a lower depth", n, limit)
	}
	s := d.Spec.Setting
	switch d.Spec.Family {
	case policies.FamilyLinear, policies.FamilyLogistic, policies.FamilySoftmax, policies.FamilyKMeans:
		n := len(slotsOf(d.Features))
		if n > maxInputs {
			return large([2]string{"输入", "inputs"}, n, maxInputs)
		}
		if p := n * max(1, d.Target.Classes-1, s.Clusters); p > maxParameters {
			return large([2]string{"参数", "parameters"}, p, maxParameters)
		}
	case policies.FamilyAdditive:
		if p := width(d.terms(), d.Features); p > maxParameters {
			return large([2]string{"参数", "parameters"}, p, maxParameters)
		}
	case policies.FamilyTree, policies.FamilyForest:
		if n := max(1, s.Trees) << s.Depth; n > maxLeaves {
			return large([2]string{"叶节点", "leaves"}, n, maxLeaves)
		}
		if n := width(d.terms(), d.Features) << s.Depth; n > maxWidth {
			return large([2]string{"直方图单元", "cells of histograms"}, n, maxWidth)
		}
	}
	return nil
}
