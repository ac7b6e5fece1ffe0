package fit

import (
	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/policies"
)

// RoundsOf is how many rounds a training needs if none fails, by its specification alone:
// what a party without the catalogue knows, too. See Model.Rounds.
func RoundsOf(spec policies.ModelSpec) int { return model.Passes(spec) + 1 }
