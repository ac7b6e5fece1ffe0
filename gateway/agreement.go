package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/release"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/masking"
)

// agreementMaster is the secret from which the pseudonyms of agreements are keyed. It
// is not the key of the stored ones: who knew one key would not know the other. It
// comes from the first key of subjects, which is never erased: an agreement is given
// the same pseudonyms for as long as it lasts, whatever key is rotated.
func (d *Domain) agreementMaster() []byte {
	mac := hmac.New(sha256.New, d.subjectKeyOf(0))
	mac.Write([]byte("sandgate/agreement-pseudonyms/v1"))
	return mac.Sum(nil)
}

// rekeyed gives a stored release, of the job from, the pseudonyms of the agreement and
// purpose that j is under. What is stored, committed to and repeated keeps the stored
// ones, which leave in no answer.
func (d *Domain) rekeyed(rel *release.Release, j, from state.Job) (*release.Release, error) {
	if from.Reserved == nil || len(from.Reserved.Pseudonyms) == 0 {
		return rel, nil
	}
	core := from.Reserved.Request.Core
	operators := map[int]masking.Operator{}
	for _, k := range from.Reserved.Pseudonyms {
		key, err := masking.ContextKey(d.agreementMaster(), masking.Context{
			Dataset: core.Tables[core.Keys[k].Table].Dataset, Agreement: j.Request.Licence, Purpose: j.Request.Purpose,
		})
		if err != nil {
			return nil, err
		}
		op, err := masking.New(masking.OpPseudonym, masking.Params{Key: key, Type: algebra.Type{Kind: algebra.Text}})
		if err != nil {
			return nil, fmt.Errorf("failed to make pseudonyms: %w", err)
		}
		operators[k] = op
	}
	return rel.Rekeyed(from.Reserved.Pseudonyms, func(k int, v string) string {
		out, _ := operators[k].Apply(v)
		return out
	})
}
