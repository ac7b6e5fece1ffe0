package main

import (
	"encoding/json"
	"strconv"

	"github.com/sandgate/sandgate/compute/model"
)

// modelFigures tells what rho_evaluation of a training over domains paid for: the figures
// from the units that the domains held out, with everybody's noise. They are not in the
// certificate, and who has it from elsewhere does without.
func (a *app) modelFigures(evaluation []byte) {
	var e model.Evaluation
	if json.Unmarshal(evaluation, &e) != nil {
		return
	}
	n := func(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
	for _, x := range []struct {
		zh, en string
		of     *model.Estimate
	}{{"留出单元数（约）", "units held out, about", e.Units}, {"AUC", "AUC", e.AUC}, {"准确率", "accuracy", e.Accuracy}, {"R²", "R²", e.R2}, {"均方根误差", "RMSE", e.RMSE}, {"平均偏差", "bias", e.Bias}} {
		if x.of != nil {
			a.note("留出单元评估（加噪）%s: %s [%s, %s]", "evaluation on held-out units, under noise: %s %s [%s, %s]", a.t(x.zh, x.en), n(x.of.Value), n(x.of.Low), n(x.of.High))
		}
	}
}
