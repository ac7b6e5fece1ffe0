package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/policies"
)

// ownStory plays on a data file of the user's. Its bundle holds the catalogue,
// grading, masking and disclosure of one data set; registry and licences are
// made to fit, and the questions are drawn up from the columns' uses.
func ownStory(o demoOptions) (*story, error) {
	text, err := os.ReadFile(o.catalog)
	if err != nil {
		return nil, texts.Errorf("failed to read the catalogue file: %w", err)
	}
	docs, err := policies.ParseBundle(text)
	if err != nil {
		return nil, texts.Errorf("%s: %w", o.catalog, err)
	}
	own, err := ownSet(docs)
	if err != nil {
		return nil, texts.Errorf("%s: %w", o.catalog, err)
	}
	st := &story{id: "own", regulator: "data_bureau", parties: []string{"data_bureau", own.department, "alpha"}}
	st.registry = own.registry()
	st.bundles = []bundle{{own.department, string(text)}}
	st.tables = []rawFile{{dataset: own.set.ID, department: own.department, format: formatOf(o.data), open: func() (io.ReadCloser, error) { return os.Open(o.data) }}}
	for _, l := range []policies.Licence{own.licence("alpha-own", 0), own.licence("alpha-old", -3)} {
		doc, err := yaml.Marshal(struct {
			Kind policies.Kind    `yaml:"kind"`
			Body policies.Licence `yaml:",inline"`
		}{policies.KindLicence, l})
		if err != nil {
			return nil, texts.Errorf("failed to write licence: %w", err)
		}
		st.licences = append(st.licences, licence{id: l.ID, operator: "alpha", text: string(doc), departments: []string{own.department}})
	}
	st.budgets = st.licences[:1]
	st.steps = own.steps()
	return st, nil
}

// own is what the story needs of the user's bundle.
type own struct {
	department string
	set        policies.Dataset
	rule       policies.DisclosureRule
	purposes   []string
	keys       []string // public code list, licensed
	private    []string
	measures   []string
	withheld   string // a usable column that the licence leaves out
}

func ownSet(docs []policies.Document) (*own, error) {
	w := &own{}
	for _, d := range docs {
		switch {
		case d.Catalogue != nil && len(d.Catalogue.Datasets) > 0 && w.department == "":
			w.department, w.set = d.Catalogue.Department, d.Catalogue.Datasets[0]
		case d.Disclosure != nil:
			if r, ok := d.Disclosure.Datasets[w.set.ID]; ok {
				w.rule = r
			}
		}
	}
	if w.department == "" || w.set.Unit == nil || len(w.rule.Purposes) == 0 {
		return nil, texts.Errorf("a Catalogue with a privacy unit and a Disclosure with purposes are needed")
	}
	for _, d := range docs {
		if d.Disclosure != nil {
			for _, r := range d.Disclosure.Datasets {
				w.purposes = append(w.purposes, r.Purposes...)
			}
		}
	}
	slices.Sort(w.purposes)
	w.purposes = slices.Compact(w.purposes)
	for _, c := range w.set.Columns {
		uses := w.rule.Uses[c.Name]
		switch {
		case slices.Contains(w.rule.PrivateKeys, c.Name):
			w.private = append(w.private, c.Name)
		case slices.Contains(uses, policies.UseKey) && len(c.Codes) > 0:
			w.keys = append(w.keys, c.Name)
		case slices.Contains(uses, policies.UseMeasure) && (c.Type == algebra.Int || c.Type == algebra.Decimal):
			w.measures = append(w.measures, c.Name)
		}
	}
	if len(w.keys) < 2 {
		return nil, texts.Errorf("at least two key columns with code lists are needed for the story")
	}
	w.withheld = w.keys[len(w.keys)-1]
	return w, nil
}

func (w *own) registry() string {
	var b strings.Builder
	b.WriteString("kind: Registry\nparties:\n")
	for _, p := range [][3]string{{"data_bureau", "regulator", "数据局"}, {w.department, "department", "数源部门"}, {"alpha", "operator", "甲数据运营公司"}} {
		fmt.Fprintf(&b, "  - {id: %s, role: %s, title: {zh: %s, en: %s}, key: \"@KEY:%s\"}\n", p[0], p[1], p[2], p[0], p[0])
	}
	b.WriteString("purposes:\n")
	for _, p := range w.purposes {
		fmt.Fprintf(&b, "  - {id: %s, title: {zh: %s, en: %s}, fee: welfare}\n", p, p, p)
	}
	return b.String()
}

// licence grants every usable column but one, for a year that starts so many
// years from now.
func (w *own) licence(id string, years int) policies.Licence {
	from := time.Now().UTC().Truncate(24*time.Hour).AddDate(years, 0, 0)
	l := policies.Licence{
		ID: id, Operator: "alpha", Purposes: w.rule.Purposes, NotBefore: from, NotAfter: from.AddDate(1, 0, 0),
		Title: policies.Text{ZH: "演示授权"}, Scenario: policies.Text{ZH: "演示"}, Security: policies.Text{ZH: "只在数据沙箱内使用"}, Exit: policies.Text{ZH: "到期停止"},
	}
	o := policies.LicenceObject{Dataset: w.set.ID}
	for _, c := range w.set.Columns {
		if len(w.rule.Uses[c.Name]) > 0 && c.Name != w.withheld {
			o.Columns = append(o.Columns, c.Name)
		}
	}
	l.Resources = []policies.LicenceObject{o}
	return l
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (w *own) steps() []step {
	from, key, unit := " FROM "+quoted(w.set.ID), quoted(w.keys[0]), quoted(w.set.Unit.Column)
	ask := func(want, zh, en, sql string) step {
		return step{operator: "alpha", licence: "alpha-own", purpose: w.rule.Purposes[0], want: want, zh: zh, en: en, sql: sql, rows: 10}
	}
	steps := []step{ask("released", "按代码表分组计数", "counts by a registered code list", "SELECT "+key+", COUNT(*) AS n, COUNT(DISTINCT "+unit+") AS units"+from+" GROUP BY "+key)}
	if len(w.measures) > 0 {
		m := quoted(w.measures[0])
		steps = append(steps, ask("released", "平均值与合计", "a mean and a sum", "SELECT "+key+", AVG("+m+") AS mean, SUM("+m+") AS total"+from+" GROUP BY "+key))
	}
	if len(w.private) > 0 {
		p := quoted(w.private[0])
		steps = append(steps, ask("released", "取值不公开的列：罕见值不会出现", "private values: rare ones never appear", "SELECT "+p+", COUNT(*) AS n"+from+" GROUP BY "+p+" ORDER BY n DESC"))
	}
	expired := ask("LICENCE_EXPIRED", "授权已到期", "an expired licence", "SELECT "+key+", COUNT(*) AS n"+from+" GROUP BY "+key)
	expired.licence = "alpha-old"
	steps = append(steps,
		ask("repeated", "换一种写法再问一次", "the same question in other words", "select count(1) as c, count(distinct t."+unit+") as u, t."+key+" as k from "+quoted(w.set.ID)+" as t group by k order by c desc"),
		ask("STAR", "要原始行", "raw rows", "SELECT *"+from+" LIMIT 5"),
		ask("COLUMN_NOT_LICENSED", "授权以外的列", "a column outside the licence", "SELECT "+quoted(w.withheld)+", COUNT(*) AS n"+from+" GROUP BY "+quoted(w.withheld)),
		expired,
		ask("TABLE_FUNCTION", "恶意函数", "a hostile function", "SELECT COUNT(*) AS n FROM read_csv('/etc/passwd')"),
	)
	if len(w.measures) == 0 {
		return steps
	}
	n := 0
	drain := ask("BUDGET_EXHAUSTED", "不断换条件追问，直到预算用尽", "asking on with other conditions until the budget is spent", "")
	drain.price, drain.times, drain.label = 4_400_000, 200, "SELECT COUNT(*)"+from+" WHERE "+quoted(w.measures[0])+" <> 1, 2, 3, …"
	drain.vary = func() string {
		n++
		return fmt.Sprintf("SELECT COUNT(*) AS n%s WHERE %s <> %d", from, quoted(w.measures[0]), n)
	}
	return append(steps, drain)
}
