package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sandgate/sandgate/cmd/sandgate/internal/city"
	"github.com/sandgate/sandgate/policies"
)

// rawFile is one file of a story.
type rawFile struct {
	dataset, department, format string
	open                        func() (io.ReadCloser, error)
}

type bundle struct{ department, text string }

type licence struct {
	id, operator, text string
	departments        []string
}

// story chooses between the demo city and a data file of the user's.
func (a *app) story(o demoOptions) (*story, error) {
	if o.data != "" {
		return ownStory(o)
	}
	return cityStory(o)
}

func cityStory(o demoOptions) (*story, error) {
	read := func(name string) (string, error) {
		text, err := os.ReadFile(filepath.Join(o.assets, name))
		if err != nil {
			return "", texts.Errorf("failed to read the demo city's policy (run from the source folder, or pass --assets): %w", err)
		}
		return string(text), nil
	}
	st := &story{id: "city", regulator: "data_bureau"}
	var err error
	if st.registry, err = read("registry.yaml"); err != nil {
		return nil, err
	}
	if err := st.parse(); err != nil {
		return nil, err
	}
	g := city.New(city.Config{Seed: o.seed, Residents: o.residents})
	owner := map[string]string{}
	for _, t := range city.Tables() {
		owner[t.Name] = t.Department
		if !slices.ContainsFunc(st.bundles, func(b bundle) bool { return b.department == t.Department }) {
			text, err := read(t.Department + ".yaml")
			if err != nil {
				return nil, err
			}
			st.bundles = append(st.bundles, bundle{t.Department, text})
		}
		st.tables = append(st.tables, rawFile{dataset: t.Name, department: t.Department, format: "csv", open: func() (io.ReadCloser, error) { return generated(g, t.Name), nil }})
	}
	for _, id := range []string{"alpha-2026", "beta-2026", "alpha-2024"} {
		text, err := read(filepath.Join("licences", id+".yaml"))
		if err != nil {
			return nil, err
		}
		l, err := licenceOf(text, owner)
		if err != nil {
			return nil, err
		}
		st.licences = append(st.licences, l)
	}
	st.budgets = st.licences[:2]
	st.steps = citySteps()
	hrss := slices.IndexFunc(st.bundles, func(b bundle) bool { return b.department == "hrss" })
	if hrss < 0 {
		return nil, texts.Errorf("the demo city has no department hrss")
	}
	if st.models, err = cityModels(st.bundles[hrss].text, st.licences[0]); err != nil {
		return nil, err
	}
	st.twins, err = cityTwins(st.bundles, st.steps[0])
	return st, err
}

// generated streams a table of the city: the raw rows exist in this pipe only.
func generated(g *city.City, name string) io.ReadCloser {
	pr, pw := io.Pipe()
	go func() {
		w := bufio.NewWriterSize(pw, 256<<10)
		pw.CloseWithError(errors.Join(g.Write(name, w), w.Flush()))
	}()
	return pr
}

// parse reads the parties from the registry text, whose keys are placeholders.
func (s *story) parse() error {
	docs, err := policies.ParseBundle([]byte(s.registry))
	if err != nil {
		return err
	}
	if len(docs) != 1 || docs[0].Registry == nil {
		return texts.Errorf("registry file does not hold one Registry document")
	}
	for _, p := range docs[0].Registry.Parties {
		s.parties = append(s.parties, p.ID)
	}
	return nil
}

func licenceOf(text string, owner map[string]string) (licence, error) {
	docs, err := policies.ParseBundle([]byte(text))
	if err != nil {
		return licence{}, err
	}
	if len(docs) != 1 || docs[0].Licence == nil {
		return licence{}, texts.Errorf("licence file does not hold one Licence document")
	}
	l := licence{id: docs[0].Licence.ID, operator: docs[0].Licence.Operator, text: text}
	for _, r := range docs[0].Licence.Resources {
		if d := owner[r.Dataset]; !slices.Contains(l.departments, d) {
			l.departments = append(l.departments, d)
		}
	}
	return l, nil
}

// citySteps is what the two operators ask. The refusals cover the ways in which
// raw data would leave, and the ways in which a right would be overstepped.
func citySteps() []step {
	alpha := func(purpose, want, zh, en, sql string) step {
		return step{operator: "alpha", licence: "alpha-2026", purpose: purpose, want: want, zh: zh, en: en, sql: sql}
	}
	beta := func(want, zh, en, sql string) step {
		return step{operator: "beta", licence: "beta-2026", purpose: "industry_research", want: want, zh: zh, en: en, sql: sql}
	}
	residents := alpha("urban_planning", "released", "各区县常住人口", "residents by district",
		"SELECT d.name, COUNT(*) AS residents FROM population p JOIN districts d ON p.district = d.code GROUP BY d.name ORDER BY residents DESC")
	wages := alpha("urban_planning", "released", "各行业城镇职工缴费基数（出较高价格换取精度）", "contribution base of employees by industry (a higher price for precision)",
		"SELECT industry, COUNT(*) AS payments, AVG(base_yuan) AS mean_base FROM social_insurance WHERE scheme = 'employee' GROUP BY industry HAVING COUNT(*) > 2000 ORDER BY payments DESC LIMIT 8")
	wages.price = 4_400_000
	visits := alpha("public_health", "released", "各诊断章的就诊、人数和费用", "visits, patients and fees by diagnosis chapter",
		"SELECT diagnosis, COUNT(*) AS visits, COUNT(DISTINCT id_number) AS patients, AVG(fee_yuan) AS mean_fee FROM visits GROUP BY diagnosis ORDER BY visits DESC LIMIT 8")
	rare := alpha("public_health", "released", "诊断细码（取值不公开：罕见值不会出现）", "diagnosis codes (private values: rare ones never appear)",
		"SELECT diagnosis_detail, COUNT(*) AS visits FROM visits GROUP BY diagnosis_detail ORDER BY visits DESC")
	rare.rows = 6
	share := alpha("urban_planning", "released", "年龄段、占比与排名：核心受保护，其后的计算只用已发布的值", "age bands, shares and ranks: the core is protected, the rest is computed on released values",
		"SELECT CASE WHEN birth_date < 1966 THEN '老年' WHEN birth_date < 2008 THEN '成年' ELSE '未成年' END AS age_band, COUNT(*) AS n, "+
			"ROUND(100.0 * COUNT(*) / SUM(COUNT(*)) OVER (), 1) AS share, RANK() OVER (ORDER BY COUNT(*) DESC) AS place FROM population GROUP BY age_band ORDER BY place")
	each := alpha("urban_planning", "released", "先按人汇总，再与人口表按人连接", "one row per person first, then joined to the population by person",
		"WITH u AS (SELECT id_number, COUNT(*) AS months, SUM(base_yuan) AS base FROM social_insurance GROUP BY id_number) "+
			"SELECT p.gender, COUNT(*) AS insured, AVG(u.base) AS mean_base FROM population p JOIN u ON p.id_number = u.id_number GROUP BY p.gender")
	repeat := alpha("urban_planning", "repeated", "换一种写法再问一次：不能靠重复求平均", "the same question in other words: repeating averages nothing out",
		"select dd.name, count(1) as n from population as x inner join districts as dd on dd.code = x.district group by dd.name order by n")
	repeat.rows = 3
	expired := alpha("urban_planning", "LICENCE_EXPIRED", "授权已到期", "an expired licence", "SELECT district, COUNT(*) AS n FROM population GROUP BY district")
	expired.licence = "alpha-2024"
	steps := []step{
		residents, wages, visits, rare, share, each,
		beta("released", "企业统计（非个人数据，精确方式）", "enterprises (no personal data, exact mode)",
			"SELECT district, COUNT(*) AS enterprises FROM enterprises GROUP BY district ORDER BY enterprises DESC LIMIT 6"),
		beta("withheld", "极小的组：结果被抑制", "tiny groups: withheld",
			"SELECT status, COUNT(*) AS n FROM enterprises WHERE industry = 'B' AND employees > 120 GROUP BY status ORDER BY status"),
		beta("INFORMATION_EXHAUSTED", "精确答案的信息量有上限：问得太细", "exact answers may tell so much and no more: too fine a table",
			"SELECT industry, district, status, COUNT(*) AS n, SUM(registered_capital_yuan) AS capital, SUM(employees) AS staff FROM enterprises GROUP BY industry, district, status"),
		repeat,
		alpha("public_health", "STAR", "要原始行", "raw rows", "SELECT * FROM visits LIMIT 5"),
		alpha("public_health", "RAW_ROWS", "要某人的明细", "somebody's records", "SELECT visit_date, fee_yuan FROM visits"),
		alpha("public_health", "COLUMN_NOT_LICENSED", "授权以外的列", "a column outside the licence", "SELECT hospital, COUNT(*) AS n FROM visits GROUP BY hospital"),
		expired,
		alpha("inclusive_finance", "PURPOSE_NOT_LICENSED", "授权以外的用途", "a purpose outside the licence", "SELECT gender, COUNT(*) AS n FROM population GROUP BY gender"),
		alpha("public_health", "TABLE_FUNCTION", "恶意函数：读网关的文件", "a hostile function: reading the gateway's files", "SELECT COUNT(*) AS n FROM read_csv('/etc/passwd')"),
		alpha("public_health", "UNKNOWN_FUNCTION", "恶意函数：用报错泄露一行", "a hostile function: an error that tells about a row", "SELECT COUNT(*) AS n FROM visits WHERE error(diagnosis_detail)"),
	}
	fee := 100
	drain := alpha("public_health", "BUDGET_EXHAUSTED", "不断换条件追问，直到预算用尽", "asking on with other conditions until the budget is spent", "")
	drain.times, drain.label = 12, "SELECT diagnosis, COUNT(*) AS n FROM visits WHERE fee_yuan > 100, 110, 120, … GROUP BY diagnosis"
	drain.vary = func() string {
		fee += 10
		return strings.Replace("SELECT diagnosis, COUNT(*) AS n FROM visits WHERE fee_yuan > @ GROUP BY diagnosis", "@", fmt.Sprint(fee), 1)
	}
	return append(steps, drain)
}
