package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/compute/model/gate"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/certificate"
	"github.com/sandgate/sandgate/gateway/client"
	"github.com/sandgate/sandgate/policies"
)

// modelStep is a model of a story and how it must end: a verdict, or words of the
// refusal to file it. One that is trained and fails does so for caught, a code of the
// gate's.
type modelStep struct {
	id, zh, en string
	spec       policies.ModelSpec
	want       string
	caught     string
}

// modelStory is what a story trains: the department's rule that opens its columns, and
// models on them.
type modelStory struct {
	department, rule string
	licence          licence
	purpose          string
	steps            []modelStep
}

// cityModels opens the contributions to training and tries three models on them: one
// that keeps its records, one that fits its units too closely, and one that withstands
// the gate.
func cityModels(hrss string, l licence) (*modelStory, error) {
	opened, err := openToTraining(hrss, "logistic, tree", "0.05", "scheme: [key, filter", "base_yuan: [filter, measure", "district: [key, filter, join", "month: [key, filter", "industry: [key, filter")
	if err != nil {
		return nil, err
	}
	_, rule, _ := strings.Cut(opened, "kind: Disclosure")
	rule = "kind: Disclosure" + rule + "    twin: {}\n"
	l.text = strings.TrimRight(l.text, "\n") + "\njobs: [query, model]\n"
	features := func(names ...string) (out []policies.ModelFeature) {
		for _, n := range names {
			out = append(out, policies.ModelFeature{Column: n})
		}
		return out
	}
	label := policies.ModelLabel{Column: "base_yuan", Threshold: "5000.00"}
	income := policies.ModelSpec{Dataset: "social_insurance", Family: policies.FamilyLogistic, Label: label, Features: features("scheme", "district"),
		Private: true, Rho: "0.02", RhoEvaluation: "0.002", Groups: []string{"scheme"}, Release: policies.ReleaseParameters}
	neighbours := income
	neighbours.Family = "knn"
	// As deep, and with as small leaves, as a specification can ask for.
	tree := policies.ModelSpec{Dataset: "social_insurance", Family: policies.FamilyTree, Label: label, Features: features("month", "scheme", "district", "industry"),
		RhoEvaluation: "0.002", Release: policies.ReleaseScores, Setting: policies.ModelSettings{Depth: 10, Leaf: 10}}
	return &modelStory{department: "hrss", rule: rule, licence: l, purpose: "urban_planning", steps: []modelStep{
		{"neighbours", "近邻模型（保存训练记录本身）", "nearest neighbours (which are the training records)", neighbours, "training records", ""},
		{"overfitted", "过拟合的决策树（10 层，每叶至少 10 个单元，不加噪）", "an overfitted decision tree (10 levels, leaves of 10 units and up, no noise)", tree, "FAIL", gate.CodeStructure},
		{"income", "缴费水平：差分隐私逻辑回归，导出参数", "contribution level: private logistic regression, parameters released", income, "PASS", ""},
	}}, nil
}

// models plays the models of a story.
func (s *stage) models(ctx context.Context, m *modelStory, regulator string) error {
	if err := s.applySigned(ctx, m.department, m.rule, m.department); err != nil {
		return err
	}
	if err := s.applySigned(ctx, regulator, m.licence.text, append([]string{regulator}, m.licence.departments...)...); err != nil {
		return err
	}
	for i, st := range m.steps {
		fmt.Fprintf(s.a.out, "\n[M%d] %s · %s\n", i+1, m.licence.operator, s.a.t(st.zh, st.en))
		if err := s.model(ctx, m, st, regulator); err != nil {
			return texts.Errorf("model %s: %w", st.id, err)
		}
	}
	return nil
}

// model files, reviews and trains one model.
func (s *stage) model(ctx context.Context, m *modelStory, st modelStep, regulator string) error {
	a, operator := s.a, m.licence.operator
	doc, err := documentOf(policies.KindProduct, policies.Product{ID: st.id, Operator: operator, Licence: m.licence.id, Purposes: []string{m.purpose},
		Title: policies.Text{ZH: st.zh, EN: st.en}, Job: policies.JobModel, Model: &st.spec})
	if err != nil {
		return err
	}
	err = s.applySigned(ctx, operator, string(doc), operator)
	if p := client.ProblemOf(err); err != nil && p != nil && len(p.Reasons) > 0 {
		a.say("  ✗ 拒绝 %s: %s", "  ✗ refused %s: %s", p.Reasons[0].GetCode(), reasonText(p.Reasons[0], a.lang))
		if !strings.Contains(p.Reasons[0].GetMessageEn(), st.want) {
			return texts.Errorf("refused, expected %s", st.want)
		}
		return nil
	}
	if err != nil {
		return err
	}
	product, err := s.clients[operator].Product.GetProduct(ctx, &sandgatev1.GetProductRequest{Name: st.id})
	if err != nil {
		return err
	}
	for _, by := range []string{m.department, regulator} {
		review, err := documentOf(policies.KindProductReview, policies.ProductReview{Product: st.id, Digest: product.GetDigest(), By: by, Approve: true, Officers: []string{"zhang"}, Reason: policies.Text{ZH: "合规", EN: "compliant"}})
		if err != nil {
			return err
		}
		if err := s.applySigned(ctx, by, string(review), by); err != nil {
			return err
		}
	}
	start := time.Now()
	got, err := s.clients[operator].Train(ctx, &sandgatev1.TrainModelRequest{RequestId: uuid.NewString(), Licence: m.licence.id, Purpose: m.purpose, Product: st.id}, nil)
	if err != nil {
		return err
	}
	if err := s.keep(got.GetReceipt()); err != nil {
		return err
	}
	verdict := strings.TrimPrefix(got.GetVerdict().String(), "VERDICT_")
	if verdict != st.want {
		return texts.Errorf("verdict %s, expected %s", verdict, st.want)
	}
	if verdict != string(policies.VerdictPass) {
		return s.caught(ctx, operator, got, st.caught, time.Since(start))
	}
	s.trained = append(s.trained, ownModel{operator, got.GetName()})
	f, err := s.clients[operator].Model.DownloadModel(ctx, &sandgatev1.DownloadModelRequest{Name: got.GetName()})
	if err != nil {
		return err
	}
	a.say("  ✓ 合格并发布：参数文件 %d 字节，花费 ρ %s，%.1f 秒", "  ✓ passed and released: a parameter file of %d bytes for ρ %s, %.1f s", len(f.GetContent()), rho(got.GetPriceNanoRho()), time.Since(start).Seconds())
	return nil
}

// caught shows why the gate did not let a trained model out, each attack with its figure
// and its bound, and that neither its scores nor its parameters can be had.
func (s *stage) caught(ctx context.Context, operator string, m *sandgatev1.Model, code string, took time.Duration) error {
	a, c := s.a, s.clients[operator].Model
	got, err := c.GetModelCertificate(ctx, &sandgatev1.GetModelCertificateRequest{Name: m.GetName()})
	if err != nil {
		return err
	}
	var x certificate.Certificate
	if err := json.Unmarshal(got.GetCertificate(), &x); err != nil {
		return texts.Errorf("failed to read certificate: %w", err)
	}
	report, err := gate.Load(x.Report)
	if err != nil {
		return texts.Errorf("failed to read certificate: %w", err)
	}
	found := false
	for _, r := range report.Reasons {
		found = found || r.Code == code
		a.say("  ✗ 已训练，未发布 %s: %s", "  ✗ trained, not released %s: %s", r.Code, r.Text(a.lang))
	}
	if !found {
		return texts.Errorf("the gate did not find %s", code)
	}
	_, err = c.DownloadModel(ctx, &sandgatev1.DownloadModelRequest{Name: m.GetName()})
	p := client.ProblemOf(err)
	if err == nil {
		return texts.Errorf("a model that failed was handed out")
	}
	if p == nil || len(p.Reasons) == 0 {
		return err
	}
	a.say("  ✗ 下载被拒 %s；花费 ρ %s，%.1f 秒", "  ✗ its download is refused: %s; ρ %s spent, %.1f s", p.Reasons[0].GetCode(), rho(m.GetPriceNanoRho()), took.Seconds())
	return nil
}
