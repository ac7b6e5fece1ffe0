package report

import "html/template"

var page = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="{{if eq .Lang "en"}}en{{else}}zh-CN{{end}}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{.Plain "合成孪生的质量" "Quality of a synthetic twin"}}: {{.T.Dataset}}</title>
<style>
body{font:16px/1.5 sans-serif;max-width:60rem;margin:1rem auto;padding:0 1rem;color:#222;background:#fff}
h1,h2{font-weight:600;line-height:1.25}span[lang=en]{color:#595959;font-size:.88em}
.scroll{overflow-x:auto}.scroll:focus{outline:3px solid #1f5fa8}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.25rem .5rem;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n{white-space:nowrap}
th{min-width:4.5rem}th[scope=row]{min-width:7rem;overflow-wrap:anywhere}th span[lang=en]{display:block;font-weight:400}
caption{text-align:left;color:#595959}code{word-break:break-all}
.mark{border-left:.3rem solid #1f5fa8;padding-left:.75rem}.warn{border-left:.3rem solid #a11;padding-left:.75rem}
figure{margin:1rem 0}svg{height:auto;font:12px sans-serif}figure>svg{max-width:100%}.plots{display:flex;flex-wrap:wrap;column-gap:2rem}figcaption{max-width:40rem}
.own line{stroke:#1f5fa8;stroke-width:3}.own circle{fill:#1f5fa8}.other line{stroke:#b06a00;stroke-width:3}.other rect{fill:#b06a00}
line.axis{stroke:#ddd}.cell{fill:#a11}
@media print{body{max-width:none}}
</style></head><body><main>
<h1>{{.Say "合成孪生的质量" "Quality of a synthetic twin"}}: {{.T.Dataset}}</h1>
<p class="mark">{{.Say "孪生中没有一行属于任何人。以下数字只由加过噪声的和算出，不另花预算；真实值无人确知，所以每个误差都是区间。" "No row of the twin was ever anyone's. The figures below follow from noised sums alone, at no further cost; nobody may know the exact values, so that each error is a range."}}</p>
{{if .T.MarginalsOnly}}<p class="warn">{{.Say "预算不足以学习列与列的关系：本孪生只有单列分布。" "The budget was too small for relations between columns: this twin holds single columns alone."}}</p>{{end}}
<div class="scroll" tabindex="0" role="region" aria-label="{{.Plain "基本情况" "facts"}}"><table>
{{range .Lines}}<tr><th scope="row">{{$.Say .ZH .EN}}</th><td>{{.Value}}</td></tr>
{{end}}<tr><th scope="row">{{.Say "价格" "price"}}</th><td>ρ {{.T.Rho}}, ε {{.Epsilon}} (δ 1e-6)</td></tr>
<tr><th scope="row">{{.Say "单元（加噪）" "units (noisy)"}}</th><td>{{.T.Units}}</td></tr>
<tr><th scope="row">{{.Say "学习的列 / 编造的列" "columns learned / made up"}}</th><td>{{len .T.Columns}} / {{len .T.Generated}}{{with .Made}} ({{.}}){{end}}</td></tr>
<tr><th scope="row">{{.Say "各遍计数的噪声标准差（单元）" "noise of a count by pass (standard deviation, units)"}}</th><td>{{.Noise}}</td></tr>
<tr><th scope="row">{{.Say "加噪计数低于此数的取值从不出现" "values below this noisy count are never drawn"}}</th><td>{{.T.Rare}}</td></tr>
<tr><th scope="row">{{.Say "为比较而抽取的行" "rows drawn for the comparison"}}</th><td>{{.Q.Rows}}</td></tr>
<tr><th scope="row">{{.Say "文件摘要" "digest of the document"}}</th><td><code>{{.Digest}}</code></td></tr>
</table></div>

<h2>{{.Say "分布" "Distributions"}}</h2>
<p>{{.Say "总变差距离：0 % 为完全相同，100 % 为毫无共同之处。单列用登记的网格，列对用至多 8 组。下界与上界对四十张表中约三十九张成立。" "Total variation distance: 0 % is alike, 100 % has nothing in common. Single columns on their registered grids, pairs on at most 8 groups. Bounds hold for about thirty-nine tables in forty."}}</p>
<div class="scroll" tabindex="0" role="region" aria-label="{{.Plain "总变差距离" "total variation distance"}}"><table>
<tr><th scope="col">{{.Say "表" "tables"}}</th><th scope="col" class="n">{{.Say "下界" "low"}}</th><th scope="col" class="n">{{.Say "约" "about"}}</th><th scope="col" class="n">{{.Say "上界" "high"}}</th></tr>
{{with .Q.OneWay}}<tr><th scope="row">{{$.Say "单列，平均" "single columns, mean"}}</th><td class="n">{{$.Percent .Mean.Low}}</td><td class="n">{{$.Percent .Mean.About}}</td><td class="n">{{$.Percent .Mean.High}}</td></tr>
<tr><th scope="row">{{$.Say "单列，最差" "single columns, worst"}}</th><td class="n">{{$.Percent .Worst.Low}}</td><td class="n">{{$.Percent .Worst.About}}</td><td class="n">{{$.Percent .Worst.High}}</td></tr>{{end}}
{{if .Q.Pairs}}{{with .Q.TwoWay}}<tr><th scope="row">{{$.Say "列对，平均" "pairs, mean"}}</th><td class="n">{{$.Percent .Mean.Low}}</td><td class="n">{{$.Percent .Mean.About}}</td><td class="n">{{$.Percent .Mean.High}}</td></tr>
<tr><th scope="row">{{$.Say "列对，最差" "pairs, worst"}}</th><td class="n">{{$.Percent .Worst.Low}}</td><td class="n">{{$.Percent .Worst.About}}</td><td class="n">{{$.Percent .Worst.High}}</td></tr>{{end}}{{end}}
</table></div>
{{if .Q.Columns}}<figure>{{.Distances}}<figcaption>{{.Say "各列的距离：点为估计，线为上下界" "distance by column: the dot is the estimate, the line its bounds"}}</figcaption></figure>
<div class="scroll" tabindex="0" role="region" aria-label="{{.Plain "各列" "columns"}}"><table><tr><th scope="col">{{.Say "列" "column"}}</th><th scope="col" class="n">{{.Say "下界" "low"}}</th><th scope="col" class="n">{{.Say "约" "about"}}</th><th scope="col" class="n">{{.Say "上界" "high"}}</th></tr>
{{range $i, $r := .Q.Columns}}<tr><th scope="row">{{$.Name $i}}</th><td class="n">{{$.Percent .Low}}</td><td class="n">{{$.Percent .About}}</td><td class="n">{{$.Percent .High}}</td></tr>
{{end}}</table></div>{{end}}
{{if .Q.Pairs}}<figure><div class="scroll" tabindex="0" role="region" aria-label="{{.Plain "各列对的距离" "distance of pairs"}}">{{.Heat}}</div><figcaption>{{.Say "各列对的距离：颜色越深越远" "distance of pairs: the darker, the further apart"}}</figcaption></figure>
<div class="scroll" tabindex="0" role="region" aria-label="{{.Plain "最差的列对" "worst pairs"}}"><table><tr><th scope="col">{{.Say "最差的列对" "worst pairs"}}</th><th scope="col" class="n">{{.Say "下界" "low"}}</th><th scope="col" class="n">{{.Say "约" "about"}}</th><th scope="col" class="n">{{.Say "上界" "high"}}</th></tr>
{{range .Worst}}<tr><th scope="row">{{.A}} × {{.B}}</th><td class="n">{{$.Percent .Low}}</td><td class="n">{{$.Percent .About}}</td><td class="n">{{$.Percent .High}}</td></tr>
{{end}}</table></div>{{end}}

{{if .Q.Queries}}<h2>{{.Say "查询的误差" "Errors of queries"}}</h2>
<p>{{.Say "同一问题在孪生上与在真实数据上的差。计数以全部单元为 100 %，均值以登记的取值范围为 100 %。" "How far an answer on the twin is from that on the data. Counts in percent of all units, means in percent of the registered range."}}</p>
<div class="scroll" tabindex="0" role="region" aria-label="{{.Plain "查询的误差" "errors of queries"}}"><table>
<tr><th scope="col">{{.Say "问题" "question"}}</th><th scope="col" class="n">{{.Say "个数" "asked"}}</th><th scope="col" class="n">{{.Say "平均误差" "mean error"}}</th><th scope="col" class="n">{{.Say "最差" "worst"}}</th></tr>
{{range .Q.Queries}}<tr><th scope="row">{{$.Kind .Kind}}</th><td class="n">{{.Asked}}</td><td class="n">{{$.Percent .Error.Mean.About}} ({{$.Percent .Error.Mean.Low}} – {{$.Percent .Error.Mean.High}})</td><td class="n">{{$.Percent .Error.Worst.About}} ({{$.Percent .Error.Worst.Low}} – {{$.Percent .Error.Worst.High}})</td></tr>
{{end}}</table></div>{{end}}

{{if .Q.Models}}<h2>{{.Say "模型的误差" "Errors of models"}}</h2>
<p>{{.Say "以其余列预测一列的线性模型所解释的方差：0 % 等于只猜平均。在孪生上学得的模型用到真实数据上（蓝，圆），以及直接在真实数据上学习还能多解释多少（橙，方）。" "Variance explained by a linear model that predicts a column from the others: 0 % is no better than the mean. The model learned on the twin, used on the data (blue dots), and how much more one would explain that is learned on the data itself (orange squares)."}}</p>
<div class="scroll" tabindex="0" role="region" aria-label="{{.Plain "模型的误差" "errors of models"}}"><table>
<tr><th scope="col">{{.Say "预测" "predicted"}}</th><th scope="col" class="n">{{.Say "孪生学、孪生用" "twin on twin"}}</th><th scope="col" class="n">{{.Say "孪生学、真实用" "twin on data"}}</th><th scope="col" class="n">{{.Say "真实学、真实用多出" "more by data on data"}}</th></tr>
{{range .Q.Models}}<tr><th scope="row">{{$.Name .Column}}: {{$.Target .}}</th><td class="n">{{$.Percent .Twin}}</td><td class="n">{{$.Percent .Data.About}} ({{$.Percent .Data.Low}} – {{$.Percent .Data.High}})</td><td class="n">{{$.Percent .Lost.About}} ({{$.Percent .Lost.Low}} – {{$.Percent .Lost.High}})</td></tr>
{{end}}</table></div>
<figure>{{.Worth}}<figcaption>{{.Say "蓝圆：孪生学得；橙方：真实数据学得者多出" "blue dots: learned on the twin; orange squares: how much more is learned on the data"}}</figcaption></figure>{{end}}

{{if .Given}}{{with .Compared}}<h2>{{$.Say "同一语句、同一模型：孪生与真实数据" "The same texts and models on the twin and on the data"}}</h2>
<p class="mark">{{$.Say "由持有发布结果者比较，不属于合格证：" "Compared by who holds the releases, no part of the certificate: "}}{{.Party}}, {{$.When}}. {{$.Say "两边都是已收费并加噪（或取整）的发布结果或免费的演练，比较不另花预算，也不透露更多。区间由双方的区间合成：加噪者对每个值有百分之九十五的把握，取整者必然成立；只反映噪声与取整。" "Both sides were released, noised or rounded, or rehearsed free of charge: comparing costs nothing and tells no more. Ranges put both intervals together: of noised values they hold in 95 of 100, of rounded ones always. They tell of noise and rounding alone."}}</p>
{{if .Queries}}<div class="scroll" tabindex="0" role="region" aria-label="{{$.Plain "语句的误差" "errors of texts"}}"><table>
<tr><th scope="col">{{$.Say "语句" "text"}}</th><th scope="col">{{$.Say "列" "column"}}</th><th scope="col" class="n">{{$.Say "比较的值（未比）" "values compared (not)"}}</th><th scope="col" class="n">{{$.Say "平均误差" "mean error"}}</th><th scope="col" class="n">{{$.Say "占真实均值" "of the data's mean"}}</th><th scope="col" class="n">{{$.Say "最差" "worst"}}</th></tr>
{{range $q := .Queries}}{{if .Refused}}<tr><th scope="row">{{.Name}}</th><td colspan="5">{{$.Say "孪生上被拒" "refused on the twin"}}: {{.Refused}}</td></tr>
{{else}}{{range .Columns}}<tr><th scope="row">{{$q.Name}}{{if not $q.Known}} †{{end}}</th><td>{{.Name}}</td><td class="n">{{.Cells}} ({{$.Missed $q .}})</td><td class="n">{{if .Cells}}{{$.Ranged .Mean}}{{else}}—{{end}}</td><td class="n">{{$.Share .}}</td><td class="n">{{if .Cells}}{{$.Ranged .Worst}}{{else}}—{{end}}</td></tr>
{{end}}{{end}}{{end}}</table></div>
<p>{{$.Say "误差为孪生之值与真实之值之差的绝对值，单位同该列。未比：只在一边出现的组、一边被抑制或缺失的值。†：网关不认得该语句为现有快照上答复过者，只核对了列。" "An error is the absolute difference between the twin's value and the data's, in the column's own unit. Not compared: groups that one side alone has, values withheld or missing on one. †: the gateway does not know the text as one that it answered on the snapshots in force; its columns alone were held together."}}</p>
<div class="plots">{{range $q := .Queries}}{{range .Columns}}{{if .Points}}<figure>{{$.Points $q .}}<figcaption>{{$q.Name}}: {{.Name}} — {{$.Say "橙方：真实数据；蓝圆：孪生；线为区间" "orange squares: data; blue dots: twin; lines are intervals"}}{{if gt .Cells (len .Points)}} ({{len .Points}}/{{.Cells}}){{end}}</figcaption></figure>
{{end}}{{end}}{{end}}</div>{{end}}{{range $m := .Models}}<h3>{{$.Say "模型" "model"}} {{.Product}}</h3>
{{if .Refused}}<p class="warn">{{$.Say "孪生上被拒" "refused on the twin"}}: {{.Refused}}</p>{{else}}<p>{{$.Say "检验结论：真实" "verdict: data"}} {{.Data}}, {{$.Say "孪生" "twin"}} {{.Twin}}. {{with .Agree}}{{if .Classes}}{{$.Say "两个模型在孪生的行上判为同一类的比例" "rows of the twin that both models put in the same class"}}{{else}}{{$.Say "两个模型在孪生的行上预测之差的均值，占标签范围" "mean difference of both models' predictions on rows of the twin, of the label's range"}}{{end}}: {{$.Percent .Share}} ({{.Rows}}).{{end}}</p>
{{if .Figures}}<div class="scroll" tabindex="0" role="region" aria-label="{{$.Plain "模型的评估" "evaluation of the model"}} {{.Product}}"><table>
<tr><th scope="col">{{$.Say "留出单元上的评估" "on held-out units"}}</th><th scope="col" class="n">{{$.Say "真实学、真实用" "data on data"}}</th><th scope="col" class="n">{{$.Say "孪生学、孪生用" "twin on twin"}}</th><th scope="col" class="n">{{$.Say "误差" "error"}}</th></tr>
{{range .Figures}}<tr><th scope="row">{{$.Figure .}}</th><td class="n">{{$.Celled .Data}}</td><td class="n">{{$.Celled .Twin}}</td><td class="n">{{$.Ranged .Error}}</td></tr>
{{end}}</table></div>
<figure>{{$.Evaluated .}}<figcaption>{{$.Say "橙方：真实数据；蓝圆：孪生；线为区间" "orange squares: data; blue dots: twin; lines are intervals"}}</figcaption></figure>{{end}}{{end}}
{{end}}{{end}}{{end}}
<h2>{{.Say "不保证" "What it does not promise"}}</h2>
<p>{{.Say "三列以上的关系为最大熵；一个单元的各行除恒定列外相互独立；孪生上得到的结论须在真实数据上重新计算。" "Relations of three and more columns are those of greatest entropy; rows of a unit are independent but for its constant columns; what is found on the twin is to be computed again on the data."}}</p>
</main></body></html>
`))
