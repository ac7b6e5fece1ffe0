package model

import "github.com/sandgate/sandgate/policies"

// Passes is how many passes over the rows a private training of a linear or logistic model
// makes, by its specification alone, before the pass of its evaluation: as many as its Plan
// has. It is 0 of other families and of settings that no design has.
func Passes(spec policies.ModelSpec) int {
	set, refused := completed(spec)
	switch {
	case refused != nil || !spec.Private:
		return 0
	case spec.Family == policies.FamilyLinear:
		return 1
	case spec.Family == policies.FamilyLogistic:
		return 1 + set.Steps
	}
	return 0
}
