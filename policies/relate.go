package policies

import (
	"slices"
)

// maxRelated bounds the partners of one rule.
const maxRelated = 32

// checkRelated holds the partners of a twin rule to the form of ids. A partner need not be
// in the catalogue yet: departments write their rules in any order.
func (e Entry) checkRelated(partners []string) error {
	if len(partners) > maxRelated {
		return texts.Errorf("twin.relate names at most %d data sets", maxRelated)
	}
	for i, id := range partners {
		if err := checkID("data set", id); err != nil {
			return err
		}
		if id == e.Dataset.ID || slices.Contains(partners[:i], id) {
			return texts.Errorf("twin.relate names other data sets, once each: not %q", safeName(id))
		}
	}
	return nil
}

// RelatedTo says whether the department lets the twin of the data set be tied to that of
// another one.
func (e Entry) RelatedTo(partner string) bool {
	return e.Rule != nil && e.Rule.Twin != nil && slices.Contains(e.Rule.Twin.Relate, partner)
}

// OpenToRelations says why the twins of these data sets may not be tied at the wish of a
// department: none of them is its own, one is not open to twins, or the rule of one does
// not name another. The department's own are looked at first. nil when they may be.
func (b *Book) OpenToRelations(department string, datasets []string) *Reason {
	own := slices.SortedStableFunc(slices.Values(datasets), func(x, y string) int {
		first := func(id string) int {
			if b.datasets[id].Department == department {
				return 0
			}
			return 1
		}
		return first(x) - first(y)
	})
	if len(own) == 0 || b.datasets[own[0]].Department != department {
		return reasonf("DATASET_UNKNOWN", "catalogue", b.root, "所列数据集没有一个在您的目录中", "none of these data sets is in your catalogue").
			hint("由其中一个数据集的部门提出", "the department of one of them asks")
	}
	for _, id := range own {
		e, ok := b.datasets[id]
		if !ok {
			return reasonf("DATASET_UNKNOWN", "catalogue", b.root, "目录中没有数据集“%s”", "the catalogue has no data set %q", safeName(id))
		}
		// Who has left the registry can take no consent back: it ends with the account.
		if owner, ok := b.parties[e.Department]; !ok || owner.Withdrawn {
			return reasonf("PARTY_WITHDRAWN", b.endedBy(Target{TargetOperator, e.Department}, "R37"), b.root, "数据集“%s”所属部门“%s”的账号已停用", "data set %q is of department %q, whose account was withdrawn", id, e.Department)
		}
		if x := b.OpenToTwins(e.Department, id); x != nil {
			return x
		}
		if x := e.unrelated(datasets); x != nil {
			return x
		}
	}
	return nil
}

// unrelated refuses the first data set that the rule of e does not name.
func (e Entry) unrelated(datasets []string) *Reason {
	for _, id := range datasets {
		if id != e.Dataset.ID && !e.RelatedTo(id) {
			return reasonf("TWIN_RELATE", "disclosure/"+e.Dataset.ID, e.Department, "数据集“%s”的规则不允许其孪生与“%s”的相系", "the rule of data set %q does not let its twin be tied to that of %q", e.Dataset.ID, id).
				hint("由该数据集的部门在 Disclosure 的 twin.relate 中列出对方，签名后 policy apply", "its department lists the other in twin.relate of the Disclosure, signs and applies it")
		}
	}
	return nil
}

// Unrelated says why published relations over these data sets are not handed to operators
// any more, nor rehearsed on: a rule that let them be tied names one no longer. nil when
// all still do.
func (b *Book) Unrelated(datasets []string) *Reason {
	for _, id := range datasets {
		e := b.datasets[id]
		if _, _, ok := e.Twins(); !ok {
			return e.twinNotAllowed()
		}
		if x := e.unrelated(datasets); x != nil {
			return x
		}
	}
	return nil
}
