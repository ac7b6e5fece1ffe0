package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/sandgate/sandgate/compute/twin/compare"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/client"
)

// twinStory is what a story publishes synthetic twins of. The first is shown in every
// play of it, with a typo and a query; the others are rehearsed on.
type twinStory struct {
	twins []twinOf
	typo  string
	query step
}

// twinOf is one data set's twin: the department's rule that allows it, and the request.
type twinOf struct {
	department, rule string
	req              *sandgatev1.PublishTwinRequest
}

// rehearsedUnits keeps a rehearsal of the whole story short.
const rehearsedUnits = 4000

func cityTwins(bundles []bundle, query step) (*twinStory, error) {
	out := &twinStory{query: query, typo: strings.Replace(query.sql, "d.name, COUNT", "d.nmae, COUNT", 1)}
	for _, x := range []struct {
		department, rule, rho string
		req                   *sandgatev1.PublishTwinRequest
	}{
		{"public_security", "{}", "0.02", &sandgatev1.PublishTwinRequest{Dataset: "population", Columns: []string{"gender", "birth_date", "district", "household_type"}}},
		{"hrss", "{}", "0.02", &sandgatev1.PublishTwinRequest{Dataset: "social_insurance", RowsPerUnit: 12}},
		{"health", "{level: 4}", "0.004", &sandgatev1.PublishTwinRequest{Dataset: "visits", RowsPerUnit: 12, Columns: []string{"visit_date", "department", "diagnosis", "fee_yuan", "insured_yuan"}}},
		{"market_regulation", "{}", "0.004", &sandgatev1.PublishTwinRequest{Dataset: "enterprises", Columns: []string{"industry", "district", "status", "registered_capital_yuan", "employees"}}},
	} {
		i := slices.IndexFunc(bundles, func(b bundle) bool { return b.department == x.department })
		if i < 0 {
			return nil, texts.Errorf("the demo city has no department %s", x.department)
		}
		_, rule, ok := strings.Cut(bundles[i].text, "kind: Disclosure")
		if !ok {
			return nil, texts.Errorf("the policy of %s holds no Disclosure", x.department)
		}
		x.req.Rho = x.rho
		out.twins = append(out.twins, twinOf{x.department, "kind: Disclosure" + strings.TrimRight(rule, "\n") + "\n    twin: " + x.rule + "\n", x.req})
	}
	return out, nil
}

// publishTwin has a department allow and publish a twin.
func (s *stage) publishTwin(ctx context.Context, x twinOf) error {
	if err := s.applySigned(ctx, x.department, x.rule, x.department); err != nil {
		return err
	}
	x.req.RequestId = uuid.NewString()
	t, err := s.clients[x.department].Publish(ctx, x.req, nil)
	if err != nil {
		return err
	}
	if r := t.GetReasons(); t.GetState() == sandgatev1.Twin_STATE_FAILED && len(r) > 0 && r[0].GetCode() == "TWIN_TOO_FEW_UNITS" {
		s.a.say("  %s: %s", "  %s: %s", t.GetDataset(), reasonText(r[0], s.a.lang)) // of a small demo city
		return nil
	}
	if t.GetState() != sandgatev1.Twin_STATE_PUBLISHED {
		return texts.Errorf("the twin of %s was not published", x.req.GetDataset())
	}
	s.twinned = append(s.twinned, t.GetDataset())
	s.a.say("  %s: 孪生已发布，学习 %d 列，价格 ρ %s 记在部门账上", "  %s: twin published, learned of %d columns, for ρ %s of the department's own", t.GetDataset(), len(t.GetColumns()), rho(t.GetPriceNanoRho()))
	for _, q := range t.GetQuality() {
		if q.GetOf() == "mean" {
			s.a.say("    质量 %s: 与真实数据的总变差距离平均约 %s %%", "    quality %s: mean total variation distance to the data about %s %%", map[string]string{"one_way": s.a.t("单列", "single columns"), "two_way": s.a.t("列对", "pairs")}[q.GetTables()], percent(q.GetAbout()))
		}
	}
	return s.keep(t.GetReceipt())
}

// twins shows one: a typo and a query on it, and beside its answer that of the data.
func (s *stage) twins(ctx context.Context, story *twinStory, published bool) error {
	a, st := s.a, story.query
	if !published {
		if err := s.publishTwin(ctx, story.twins[0]); err != nil {
			return err
		}
	}
	wrong := st
	wrong.sql = story.typo
	a.say("\n  %s --on twin\n    %s", "\n  %s --on twin\n    %s", st.operator, wrong.sql)
	_, err := s.onTwin(ctx, wrong, 0)
	p := client.ProblemOf(err)
	if err == nil || p == nil || len(p.Reasons) == 0 {
		return texts.Errorf("the typo was not refused on the twin")
	}
	a.say("  ✗ 拒绝 %s: %s", "  ✗ refused %s: %s", p.Reasons[0].GetCode(), reasonText(p.Reasons[0], a.lang))
	a.say("\n  %s --on twin\n    %s", "\n  %s --on twin\n    %s", st.operator, st.sql)
	synthetic, err := s.onTwin(ctx, st, 0)
	if err != nil {
		return err
	}
	real, err := s.clients[st.operator].Run(ctx, &sandgatev1.SubmitJobRequest{RequestId: uuid.NewString(), Query: st.query()})
	if err != nil {
		return err
	}
	if err := s.keep(real.GetReceipt()); err != nil {
		return err
	}
	if synthetic.GetSynthetic() == nil || synthetic.GetReceipt() != nil || real.GetSynthetic() != nil {
		return texts.Errorf("a rehearsal is not marked, or a release is")
	}
	cells := func(r *sandgatev1.Release) map[string]string {
		out := map[string]string{}
		for _, row := range r.GetRows() {
			out[row.GetCells()[0].GetValue()] = a.cell(row.GetCells()[1], false)
		}
		return out
	}
	a.synthetic(synthetic.GetSynthetic())
	left := cells(synthetic)
	var body [][]string
	for _, row := range real.GetRows() {
		key := row.GetCells()[0].GetValue()
		body = append(body, []string{key, left[key], a.cell(row.GetCells()[1], false)})
	}
	printTable(a.out, []string{real.GetColumns()[0].GetName(), a.t("合成孪生", "synthetic twin"), a.t("真实数据", "real data")}, body, 1, 2)
	a.say("  ✓ 演练不收费、不入账本；同一语句在真实数据上给出右列", "  ✓ a rehearsal is free and in no ledger; the same text on the data gives the column on the right")
	if s.rehearse {
		return s.compare(ctx)
	}
	return nil
}

// ownAnswer is a released answer, ownModel a released model, of an operator.
type (
	ownAnswer struct {
		operator string
		released
	}
	ownModel struct{ operator, name string }
)

// compare holds what the story released against the same on the twins.
func (s *stage) compare(ctx context.Context) error {
	s.a.say("\n  %s", "\n  %s", s.a.t("孪生与真实数据相差多少：同一语句、同一模型", "How far the twins are from the data: the same texts, the same model"))
	r := &compare.Report{Party: "demo", At: time.Now().UnixMilli()}
	on := func(operator string) *comparing {
		return &comparing{a: s.a, cl: s.clients[operator], run: &sandgatev1.TwinRun{}}
	}
	for _, x := range s.answered {
		q, err := on(x.operator).query(ctx, x.released)
		if err != nil {
			return err
		}
		if q.Refused == "" && !q.Known {
			return texts.Errorf("%s is not known on the twin as answered", x.name)
		}
		r.Queries = append(r.Queries, q)
	}
	for _, x := range s.trained {
		m, err := on(x.operator).model(ctx, x.name)
		if err != nil {
			return err
		}
		r.Models = append(r.Models, m)
	}
	if _, err := r.Encode(); err != nil {
		return err
	}
	for _, t := range s.a.comparedSheets(r) {
		s.a.say("  %s", "  %s", t.Title)
		printTable(s.a.out, t.Header, t.Body, t.right...)
	}
	for _, q := range r.Queries {
		if q.Refused != "" {
			s.a.say("  %s: 孪生上被拒 %s", "  %s: refused on the twin: %s", q.Name, q.Refused)
		}
	}
	for _, m := range r.Models {
		if m.Refused != "" {
			s.a.say("  %s: 孪生上被拒 %s", "  %s: refused on the twin: %s", m.Product, m.Refused)
		}
	}
	s.a.say("  ✓ 只用到已发布的结果与免费的演练；区间只反映噪声与取整", "  ✓ of releases and free rehearsals alone; ranges tell of noise and rounding alone")
	return nil
}

func (st step) query() *sandgatev1.QuerySpec {
	return &sandgatev1.QuerySpec{Licence: st.licence, Purpose: st.purpose, Sql: st.sql, PriceNanoRho: int64(st.price)}
}

func (s *stage) onTwin(ctx context.Context, st step, units int64) (*sandgatev1.Release, error) {
	return s.clients[st.operator].Run(ctx, &sandgatev1.SubmitJobRequest{RequestId: uuid.NewString(), Query: st.query(), Twin: &sandgatev1.TwinRun{Units: units}})
}

// rehearsal plays a step on the twins and checks that it ends there as it must on the
// data: with the same code, or answered and marked. Whether a value is withheld follows
// from the rows, which are others here. Without a twin, what would be answered is
// refused by that name.
func (s *stage) rehearsal(ctx context.Context, st step) (*sandgatev1.SyntheticMark, error) {
	if st.vary != nil {
		st.sql = st.vary()
	}
	r, err := s.onTwin(ctx, st, rehearsedUnits)
	got := "released"
	if p := client.ProblemOf(err); err != nil && p != nil && len(p.Reasons) > 0 {
		got = p.Reasons[0].GetCode()
	} else if err != nil {
		return nil, err
	}
	mark := r.GetSynthetic()
	if err == nil && mark == nil {
		return nil, texts.Errorf("a rehearsal is not marked, or a release is")
	}
	want := st.want
	switch {
	case got == "released" && want == "repeated" && mark.GetRepeatOnReal():
		got = want
	case got == "released" && want == "withheld":
		want = got
	case got == "TWIN_NONE" && (want == "released" || want == "withheld") && !slices.ContainsFunc(s.twinned, func(id string) bool { return strings.Contains(st.sql, id) }):
		want = got
	}
	if got != want {
		return nil, texts.Errorf("on the twin: %s, expected %s", got, want)
	}
	fmt.Fprintf(s.a.out, "    --on twin: %s\n", got)
	return mark, nil
}
