// Package report renders the outcome of the model release gate as one page for people:
// Chinese first, English beside it, with plots as inline SVG. The page has no script
// and asks for nothing from outside. It shows what it is given and computes no figure;
// what may not leave the domain must not be given to it.
package report

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"

	"github.com/sandgate/sandgate/compute/model"
	"github.com/sandgate/sandgate/compute/model/gate"
	"github.com/sandgate/sandgate/policies"
)

// Page is what is shown of a model.
type Page struct {
	Title  string // of the product, in its own language
	Report *gate.Report
	// Evaluation are the released figures on held-out units, for the calibration plot; nil
	// shows none.
	Evaluation *model.Evaluation
	// Parameters are a model that leaves as parameters, for the shapes of its features. They
	// are shown only when the report says PASS and releases parameters.
	Parameters *model.Parameters
}

// HTML renders the page: for "zh" Chinese first and English beside it, for "en" English
// alone. It errs on another language, without a report, or when a plot fails.
func (p Page) HTML(lang string) ([]byte, error) {
	if lang != "zh" && lang != "en" {
		return nil, fmt.Errorf("failed to render gate report: unknown language %q", lang)
	}
	if p.Report == nil {
		return nil, errors.New("failed to render gate report: there is none")
	}
	v := view{Page: p, Lang: lang, R: p.Report}
	var err error
	if v.ROC, err = rocPlot(p.Report); err != nil {
		return nil, fmt.Errorf("failed to render gate report: %w", err)
	}
	if p.Evaluation != nil && len(p.Evaluation.Calibration) > 0 {
		if v.Calibration, err = calibrationPlot(p.Evaluation.Calibration); err != nil {
			return nil, fmt.Errorf("failed to render gate report: %w", err)
		}
	}
	if p.Parameters != nil && p.Report.Verdict == gate.Pass && p.Report.Release == policies.ReleaseParameters {
		if v.Shapes, err = shapePlots(p.Parameters); err != nil {
			return nil, fmt.Errorf("failed to render gate report: %w", err)
		}
	}
	var out bytes.Buffer
	if err := page.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("failed to render gate report: %w", err)
	}
	return out.Bytes(), nil
}

type view struct {
	Page
	Lang             string
	R                *gate.Report
	ROC, Calibration template.HTML
	Shapes           []shape
}

type shape struct {
	Name string
	Plot template.HTML
}

// T is text in the page's language, Chinese with the English beside it.
func (v view) T(zh, en string) template.HTML {
	if v.Lang == "en" {
		return template.HTML(template.HTMLEscapeString(en))
	}
	return template.HTML(template.HTMLEscapeString(zh) + ` <span lang="en">` + template.HTMLEscapeString(en) + `</span>`)
}

// Attack names a finding.
func (v view) Attack(code string) template.HTML {
	n := names[code]
	return v.T(n[0], n[1])
}

// Figure names a figure.
func (v view) Figure(f gate.Figure) template.HTML {
	return v.T(gate.Label(f, "zh"), gate.Label(f, "en"))
}

// Reason is a refusal's text.
func (v view) Reason(r *policies.Reason) template.HTML { return v.T(r.Text("zh"), r.Text("en")) }

// Outcome of the run in words.
func (v view) Outcome() template.HTML {
	switch v.R.Verdict {
	case gate.Pass:
		return v.T("合格：可以发布", "passed: it may be released")
	case gate.Void:
		return v.T("无效：对照未被识破，不得发布", "void: the control was not caught; not to be released")
	}
	return v.T("不合格：不得发布", "failed: not to be released")
}

// Marks of a figure as they are read.
func (v view) Marks(f gate.Figure) string {
	s := ""
	for _, m := range []struct{ what, most string }{{"", f.Most}, {"lo ", f.MostLo}, {"hi ", f.MostHi}} {
		if m.most != "" {
			if s != "" {
				s += ", "
			}
			s += m.what + "≤ " + m.most
		}
	}
	return s
}

var names = map[string][2]string{
	gate.CodeFamily:     {"模型族", "family"},
	gate.CodeStructure:  {"静态扫描", "static scan"},
	gate.CodeMembership: {"成员推断（LiRA）", "membership inference (LiRA)"},
	gate.CodeWorstCase:  {"最坏情形攻击", "worst-case attack"},
	gate.CodeCanary:     {"金丝雀审计", "canary audit"},
	gate.CodeAttribute:  {"属性推断", "attribute inference"},
	gate.CodeInversion:  {"知情攻击者还原", "inversion by an informed adversary"},
	gate.CodeInstance:   {"记录匹配", "instance match"},
}

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="{{if eq .Lang "en"}}en{{else}}zh-CN{{end}}"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{.T "模型合格检验" "Model release gate"}}</title>
<style>
body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1,h2{font-weight:600}span[lang=en]{color:#666;font-size:.88em}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.25rem .5rem;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.PASS{color:#1a6b2f}.FAIL,.VOID{color:#a11}.no{color:#a11;font-weight:600}
figure{display:inline-block;margin:0 1rem 1rem 0}figcaption{max-width:26rem}
</style></head><body>
<h1>{{.T "模型合格检验" "Model release gate"}}{{with .Title}}: {{.}}{{end}}</h1>
<p class="{{.R.Verdict}}"><strong>{{.R.Verdict}}</strong> {{.Outcome}}</p>
{{with .R.Reasons}}<ul>{{range .}}<li><code>{{.Code}}</code> {{$.Reason .}}</li>{{end}}</ul>{{end}}
<table>
<tr><th>{{.T "模型族" "family"}}</th><td>{{.R.Family}}</td><th>{{.T "发布方式" "release"}}</th><td>{{.R.Release}}</td></tr>
<tr><th>{{.T "差分隐私训练" "trained privately"}}</th><td>{{if .R.Private}}ρ {{.R.Rho}}, ε {{.R.Epsilon}} (δ 1e-6){{else}}{{.T "否" "no"}}{{end}}</td><th>{{.T "特征 / 参数" "features / parameters"}}</th><td>{{.R.Features}} / {{.R.Parameters}}</td></tr>
<tr><th>{{.T "训练 / 留出单元（约）" "units in training / held out (about)"}}</th><td>{{.R.Units}} / {{.R.HeldOut}}</td><th>{{.T "受攻击单元（约）" "units attacked (about)"}}</th><td>{{.R.Attacked}}</td></tr>
<tr><th>{{.T "影子模型 × 训练单元（约）" "shadow models × units (about)"}}</th><td>{{.R.Shadows}} × {{.R.ShadowUnits}}</td><th>{{.T "金丝雀 / 待还原值" "canaries / values to restore"}}</th><td>{{.R.Canaries}} / {{.R.Targets}}</td></tr>
</table>
<h2>{{.T "攻击" "Attacks"}}</h2>
<p>{{.T "对照是故意记忆数据的模型，每项攻击都必须识破它。区间为 95 % 置信区间。" "The control is a model that memorises its rows; every attack must catch it. Intervals are 95 % confidence intervals."}}</p>
<table><tr><th>{{.T "项目" "figure"}}</th><th>{{.T "模型" "model"}}</th><th>{{.T "合格线" "mark"}}</th><th>{{.T "对照" "control"}}</th></tr>
{{range .R.Attacks}}{{$f := .}}<tr><th colspan="3">{{$.Attack .Code}} <code>{{.Code}}</code></th><th class="{{if .Passes}}PASS{{else}}FAIL{{end}}">{{if .Passes}}{{$.T "通过" "passed"}}{{else}}{{$.T "未通过" "failed"}}{{end}}{{if not .Caught}} <span class="no">{{$.T "对照未被识破" "control not caught"}}</span>{{end}}</th></tr>
{{range $i, $x := .Figures}}<tr><td>{{$.Figure $x}}</td><td class="n{{if not $x.Passes}} no{{end}}">{{$x.Value}}{{if $x.Hi}} [{{$x.Lo}}, {{$x.Hi}}]{{end}}</td><td class="n">{{$.Marks $x}}</td><td class="n">{{(index $f.Control $i).Value}}</td></tr>
{{end}}{{end}}</table>
<figure>{{.ROC}}<figcaption>{{.T "成员推断的 ROC 曲线（双对数轴）：蓝为模型，红为对照，灰为瞎猜" "ROC curve of membership inference, both axes logarithmic: blue the model, red the control, grey chance"}}</figcaption></figure>
{{with .Calibration}}<figure>{{.}}<figcaption>{{$.T "留出单元上的校准：横轴为分数，纵轴为加噪后的实际均值" "Calibration on held-out units: score across, observed mean (noised) up"}}</figcaption></figure>{{end}}
{{with .Shapes}}<h2>{{$.T "各特征的作用" "What each feature does"}}</h2>{{range .}}<figure>{{.Plot}}<figcaption>{{.Name}}</figcaption></figure>{{end}}{{end}}
<p>{{.T "检验表明未发现泄露，不是数学证明；差分隐私训练的模型另有 ρ 的证明。" "The gate shows that no leakage was found; it is no mathematical proof. A privately trained model has that of ρ as well."}}</p>
</body></html>
`))
