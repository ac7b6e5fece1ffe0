package state

import (
	"strconv"
	"time"

	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// UseEncrypted says why encrypted rows may not be scored by a model; nil when they may.
func (s *State) UseEncrypted(operator, id string, at time.Time) *policies.Reason {
	if x := s.UseModel(operator, id, at); x != nil {
		return x
	}
	p, _ := s.book.ModelProduct(s.models.all[id].Request.Product)
	return p.Model.NoEncryptedScores("model/" + id)
}

// DecideEncrypted is UseEncrypted of so many rows, which count as any others do.
func (s *State) DecideEncrypted(operator, id string, rows int64, at time.Time) *policies.Reason {
	if x := s.UseEncrypted(operator, id, at); x != nil {
		return x
	}
	return s.DecideScores(operator, id, rows, at)
}

// ActScoreEncrypted is what an operator signs of encrypted rows: their number, since the
// gateway cannot see it from anything else; the body commits to the ciphertexts.
func ActScoreEncrypted(model string, rows int64) Act {
	return Act{Method: request.MethodScoreEncrypted, Terms: map[string]string{request.TermModel: model, request.TermRows: strconv.FormatInt(rows, 10)}, Secret: true}
}
