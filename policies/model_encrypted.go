package policies

import "slices"

// linearFamily says that a score is a function of sums of inputs times coefficients.
func (m ModelSpec) linearFamily() bool {
	return slices.Contains([]ModelFamily{FamilyLinear, FamilyLogistic, FamilySoftmax}, m.Family)
}

// NoEncryptedScores says why encrypted rows may not be scored by a model; nil when they
// may. Scores of encrypted rows cannot be rounded, so that one more of them than there
// are inputs gives the parameters: they are for models whose parameters may leave. That
// of a model that was not trained privately may not, whatever its product says.
func (m ModelSpec) NoEncryptedScores(rule string) *Reason {
	r := &Reason{Rule: rule, SetBy: "sandgate"}
	switch {
	case !m.linearFamily():
		r.Code = "ENCRYPTED_FAMILY"
		r.ZH, r.EN = "模型族 "+string(m.Family)+" 不能对加密的行打分", "rows that stay encrypted cannot be scored by family "+string(m.Family)
		r.HintZH, r.HintEN = "linear、logistic、softmax 可以；其他模型族请去掉 --encrypted", "linear, logistic and softmax can; leave --encrypted out for any other"
	case !m.Private:
		r.Code = "ENCRYPTED_NOT_PRIVATE"
		r.ZH, r.EN = "模型未经差分隐私训练，参数不得离开；加密行的分值是精确的，可由此解出参数", "the model was not trained privately, so that its parameters may not leave; scores of encrypted rows are exact and would give them"
		r.HintZH, r.HintEN = "请去掉 --encrypted，或另行训练 private: true 的模型", "leave --encrypted out, or train a model with private: true"
	case m.Release != ReleaseParameters && !m.EncryptedScores:
		r.Code = "ENCRYPTED_NOT_GRANTED"
		r.ZH, r.EN = "产品未写 release: parameters 或 encrypted_scores: true；加密行的分值是精确的，可由此解出参数", "the product says neither release: parameters nor encrypted_scores: true; scores of encrypted rows are exact and give the parameters"
		r.HintZH, r.HintEN = "请去掉 --encrypted，或在规格中写 encrypted_scores: true 后重新送审", "leave --encrypted out, or write encrypted_scores: true into the specification and have it reviewed"
	default:
		return nil
	}
	return r
}
