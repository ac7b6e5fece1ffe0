package policies

import (
	"errors"
	"strings"
	"testing"
)

// What the YAML reader refuses is said by line, in both languages, without a word of
// the document and without the name of a type of this program.
func TestR17_MalformedDocumentsAreRefusedByLine(t *testing.T) {
	const person = "secret-value 110101199003078515"
	for name, c := range map[string]struct{ text, en, zh string }{
		"a list":             {"- " + person + "\n", "line 1: expected here: fields; the document has: a list", "第 1 行"},
		"a text":             {person + "\n", "line 1: expected here: fields; the document has: text", "第 1 行"},
		"kind of fields":     {"kind: {a: b}\n", "line 1: expected here: text", "文字"},
		"no time":            {"kind: Licence\nid: x\n\n# note\nnot_before: " + person + "\n", "line 5: expected here: a time such as", "第 5 行：此处应为时间"},
		"no time further in": {"kind: Order\nid: a\ntarget:\n  kind: gateway\n\ndue: 13 o'clock\n", "line 6: expected here: a time", "第 6 行"},
		"text for a number":  {"kind: Profile\nid: a\n\nreminder: " + person + "\n", "line 4: expected here: a whole number; the document has: text", "整数"},
		"number for fields":  {"kind: Grading\nlevels: 3\n", "line 2: expected here: fields; the document has: a whole number", "第 2 行"},
		"list for text":      {"kind: Licence\n# a\n# b\nid:\n  - " + person + "\n", "expected here: text; the document has: a list", "文字"},
		"unknown field":      {"kind: Grading\ndepartment: dept\n# c\n\nlevelz: {a: {b: 1}}\n", `line 5: there is no field "levelz"`, "没有字段“levelz”"},
		"a number as field":  {"kind: Grading\n110101199003078515: 1\n", "line 2: there is no field", "第 2 行"},
		"a field twice":      {"kind: Grading\ndepartment: a\ndepartment: b\n", `line 3: field "department" stands twice`, "重复"},
		"a tab":              {"kind: Grading\nlevels:\n\tx: 1\n", "line 3: failed to parse YAML", "不是有效的 YAML"},
		"not UTF-8":          {"kind: \xff\xfe\n", "failed to parse YAML", "不是有效的 YAML"},
		"an open bracket":    {"kind: [" + person, "failed to parse YAML", "不是有效的 YAML"},
		"the second one":     {"kind: Grading\ndepartment: d\nlevels: {}\n---\nkind: Grading\nlevels: 3\n", "document 2, line 6:", "第 2 份文件第 6 行"},
		"a level":            {"kind: Grading\ndepartment: d\n\n# x\nlevels: {a: {b: 4.5}}\n", "line 5: a level is", ""},
	} {
		_, err := ParseBundle([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.en) {
			t.Errorf("%s: %v; want %q", name, err, c.en)
			continue
		}
		all := err.Error()
		var r *Reason
		if errors.As(err, &r) {
			all += r.Text("zh") + r.Text("en")
		}
		if c.zh != "" && (r == nil || r.Code != "DOCUMENT_MALFORMED" || !strings.Contains(r.ZH, c.zh)) {
			t.Errorf("%s: %+v; want %q", name, r, c.zh)
		}
		for _, leak := range []string{"secret", "o'clock", "1101011990", "policies.", "unmarshal", "time.Time", "struct", "map[", "2006"} {
			if strings.Contains(all, leak) {
				t.Errorf("%s: %q stands in %s", name, leak, all)
			}
		}
	}
}

func TestR15_EmptyCatalogueIsRefused(t *testing.T) {
	for _, text := range []string{"kind: Catalogue\ndepartment: dept\n", "kind: Catalogue\ndepartment: dept\ndatasets: []\n"} {
		if got := refused(t, town(t, ""), text, "dept"); !strings.Contains(got, "datasets is empty") {
			t.Error(got)
		}
	}
}
