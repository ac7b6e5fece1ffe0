package protect

import "github.com/sandgate/sandgate/policies"

// A data set that needs its subjects' consent is read of those only who gave it.
// The datum of a unit is then its rows together with its consent: neighbouring data
// differ in all of that for one unit. Taking a consent away takes at most the unit's
// rows away, as many as the contribution bound leaves, so sensitivities, noise and
// price are those of the same query without consents, and a withdrawal between two
// queries is covered like any other difference of one unit. Nothing of a plan depends
// on which units consent, or on how many.

// consenting marks data set i of n.
func (p *Plan) consenting(i, n int) {
	if p.Consents == nil {
		p.Consents = make([]bool, n)
	}
	p.Consents[i] = true
}

// Consenting says whether data set i of Core.Datasets() is read only of units with a
// consent in force.
func (p *Plan) Consenting(i int) bool { return i >= 0 && i < len(p.Consents) && p.Consents[i] }

// exactConsent refuses exact mode: an exact answer before and one after a withdrawal
// differ in one named person's rows.
func exactConsent(f Facts) *policies.Reason {
	return by(f, "CONSENT_EXACT", "数据集“"+f.Dataset+"”须经数据主体同意，不以精确方式作答：同意撤回前后的两个精确结果之差即为一人的数据",
		"data set \""+f.Dataset+"\" needs the data subjects' consent and is not answered exactly: what changes with a withdrawal is one person's data",
		"请数源部门改用差分隐私方式（mode: dp）", "have the department set mode: dp")
}
