package state

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies/request"
)

// scoredEncrypted is an entry on encrypted rows, of which so many were signed.
func (w *world) scoredEncrypted(id, req string, rows, signed int64) *entry.Entry {
	e := w.scored(id, req, rows)
	e.ModelScored.Encrypted = true
	st := e.Signed.Statement
	st.Method = request.MethodScoreEncrypted
	st.Terms = map[string]string{request.TermModel: id, request.TermRows: strconv.FormatInt(signed, 10)}
	var err error
	if e.Signed, err = request.Sign(st, keyOf("alpha")); err != nil {
		w.t.Fatal(err)
	}
	return e
}

// TestR04_EncryptedScoresAreForModelsWhoseParametersMayLeave: what the gateway decides of
// encrypted rows is decided again at replay, and their number is the one signed.
func TestR04_EncryptedScoresAreForModelsWhoseParametersMayLeave(t *testing.T) {
	w := modelling(t)
	for id, m := range map[string]string{
		"plain":   "family: logistic, release: scores",
		"kept":    `family: logistic, private: true, rho: "0.005", release: scores`,
		"granted": `family: logistic, private: true, rho: "0.005", release: scores, encrypted_scores: true`,
	} {
		w.policy(fmt.Sprintf(`{kind: Product, id: %s, operator: alpha, licence: alpha-2026, title: {zh: 模型}, purposes: [urban_planning], job: model,
  model: {dataset: social_insurance, %s, rho_evaluation: "0.002", label: {column: base_yuan, threshold: "8000"}, features: [{column: scheme}, {column: industry}]}}`+"\n", id, m), "alpha")
		p, _ := w.s.Book().Product(id)
		for _, by := range []string{"hrss", "data_bureau"} {
			w.policy(fmt.Sprintf("kind: ProductReview\nproduct: %s\ndigest: %s\nby: %s\napprove: true\nofficials: [zhang]\nreason: {zh: 合规}\n", id, p.Digest(), by), by)
		}
	}
	models := map[string]string{}
	for product, want := range map[string]string{"inside": "ENCRYPTED_FAMILY", "plain": "ENCRYPTED_NOT_PRIVATE", "kept": "ENCRYPTED_NOT_GRANTED", "granted": "", "private": ""} {
		a := w.model(product, "e-"+product)
		w.must(w.modelEntry(a, nil))
		w.must(w.certified(a.Request.Model, nil))
		models[product] = a.Request.Model
		x := w.s.DecideEncrypted("alpha", a.Request.Model, 1, w.now)
		if want == "" && x != nil || want != "" && (x == nil || x.Code != want) {
			t.Errorf("%s: %v", product, x)
		}
		if err := w.try(w.scoredEncrypted(a.Request.Model, "s-"+product, 1, 1)); (err == nil) != (want == "") {
			t.Errorf("%s at replay: %v", product, err)
		}
		if x := w.s.DecideScores("alpha", a.Request.Model, 1, w.now); x != nil {
			t.Errorf("%s in the clear: %v", product, x)
		}
	}
	id := models["granted"]
	if w.try(w.scoredEncrypted(id, "fewer", 3, 4)) == nil {
		t.Error("fewer rows were counted than signed")
	}
	clear := w.scored(id, "clear", 3)
	clear.ModelScored.Encrypted = true
	if w.try(clear) == nil {
		t.Error("a request for clear scores was entered as one on encrypted rows")
	}
	secret := w.scoredEncrypted(id, "secret", 3, 3)
	secret.ModelScored.Encrypted = false
	if w.try(secret) == nil {
		t.Error("encrypted rows were entered as clear ones")
	}
	left := w.s.ScoresLeft(id, w.now)
	w.must(w.scoredEncrypted(id, "all", left, left))
	if x := w.s.DecideEncrypted("alpha", id, 1, w.now); x == nil || x.Code != "SCORES_EXHAUSTED" {
		t.Errorf("encrypted rows do not count: %v", x)
	}
	if x := w.s.DecideScores("alpha", models["private"], 1, w.now); x == nil || x.Code != "SCORES_EXHAUSTED" {
		t.Errorf("clear rows of the same data set are counted apart: %v", x)
	}
}
