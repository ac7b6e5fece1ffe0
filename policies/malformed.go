package policies

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// The reader's own words quote the document and name types of this program: neither
// is for whoever wrote the document, and the first may be data.
var (
	lineMark   = regexp.MustCompile(`^(?:yaml: )?line (\d+): (?s:(.*))$`)
	wrongType  = regexp.MustCompile(`(?s)^cannot unmarshal !!(\w+) .*into (.+)$`)
	noField    = regexp.MustCompile(`(?s)^field (.*) not found in type .+$`)
	standTwice = regexp.MustCompile(`(?s)^mapping key "(.*)" already defined at line \d+$`)
)

// malformed says what is wrong with the n-th document, by line. at is the line of the
// document for a line of the text that was read, and types what the reader calls the
// types of the document. What is no error of the reader stays as it is.
func malformed(n int, err error, at func(int) int, types map[string]reflect.Type) error {
	text := err.Error()
	var many *yaml.TypeError
	if errors.As(err, &many) && len(many.Errors) > 0 {
		text = many.Errors[0]
	} else if notTime := new(time.ParseError); errors.As(err, &notTime) {
		// The reader does not say where; at(0) does.
		text = fmt.Sprintf("line 0: cannot unmarshal !!str into %s", reflect.TypeFor[time.Time]())
	} else if !strings.HasPrefix(text, "yaml: ") {
		if m := lineMark.FindStringSubmatch(text); m != nil { // of a type of ours that reads itself
			line, _ := strconv.Atoi(m[1])
			err = texts.Errorf("line %d: %s", at(line), m[2])
		}
		return withoutNumbers(texts.Errorf("document %d: %w", n, err))
	}
	line := 0
	if m := lineMark.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		line, text = at(line), m[2]
	}
	r := &Reason{Code: "DOCUMENT_MALFORMED", Rule: "policy", SetBy: "sandgate", ZH: fmt.Sprintf("第 %d 份文件", n), EN: fmt.Sprintf("document %d", n)}
	if line > 0 {
		r.ZH, r.EN = r.ZH+fmt.Sprintf("第 %d 行", line), r.EN+fmt.Sprintf(", line %d", line)
	}
	say := func(zh, en string, args ...any) {
		r.ZH, r.EN = r.ZH+"："+fmt.Sprintf(zh, args...), r.EN+": "+fmt.Sprintf(en, args...)
	}
	if m := wrongType.FindStringSubmatch(text); m != nil {
		want, have := wordOf(types[m[2]]), words[m[1]]
		say("此处应为%s，文件中是%s", "expected here: %[3]s; the document has: %[4]s", want.ZH, have.ZH, want.EN, have.EN)
		return r
	}
	if m := noField.FindStringSubmatch(text); m != nil {
		say("没有字段“%s”", "there is no field %q", safeName(m[1]))
		return r.hint("核对拼写；各类文件的字段见 docs/policy.md", "check its spelling; docs/policy.md lists the fields of every kind")
	}
	if m := standTwice.FindStringSubmatch(text); m != nil {
		say("字段“%s”重复", "field %q stands twice", safeName(m[1]))
		return r
	}
	say("不是有效的 YAML", "failed to parse YAML")
	switch {
	case strings.Contains(text, "cannot start any token"), strings.Contains(text, "tab"):
		return r.hint("缩进只用空格，不用制表符", "indent with spaces, never with tabs")
	case strings.Contains(text, "UTF-8"), strings.Contains(text, "control characters"):
		return r.hint("文件须为 UTF-8 文本", "the file must be UTF-8 text")
	}
	return r.hint("核对缩进、冒号、引号和括号", "check indentation, colons, quotes and brackets")
}

// words are what stands in a document, by the reader's tags.
var words = map[string]Text{
	"str": {ZH: "文字", EN: "text"}, "int": {ZH: "整数", EN: "a whole number"}, "float": {ZH: "小数", EN: "a number with a fraction"}, "bool": {ZH: "true 或 false", EN: "true or false"},
	"null": {ZH: "空值", EN: "nothing"}, "seq": {ZH: "列表", EN: "a list"}, "map": {ZH: "若干字段", EN: "fields"}, "timestamp": {ZH: "时间", EN: "a time"}, "binary": {ZH: "二进制", EN: "binary"},
}

// wordOf is what a type of this program is called in a document.
func wordOf(t reflect.Type) Text {
	if t == nil {
		return words["map"] // the document itself
	}
	if t == reflect.TypeFor[time.Time]() {
		return Text{ZH: "时间，如 2026-12-31T00:00:00+08:00", EN: "a time such as 2026-12-31T00:00:00+08:00"}
	}
	switch k := t.Kind(); k {
	case reflect.String:
		return words["str"]
	case reflect.Bool:
		return words["bool"]
	case reflect.Float64, reflect.Float32:
		return Text{ZH: "数", EN: "a number"}
	case reflect.Slice, reflect.Array:
		return words["seq"]
	case reflect.Map, reflect.Struct:
		return words["map"]
	default:
		return words["int"]
	}
}

// typesOf are the types that stand in a document read into t, by name.
func typesOf(t reflect.Type, out map[string]reflect.Type) map[string]reflect.Type {
	if _, done := out[t.String()]; done {
		return out
	}
	out[t.String()] = t
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		typesOf(t.Elem(), out)
	case reflect.Map:
		typesOf(t.Key(), out)
		typesOf(t.Elem(), out)
	case reflect.Struct:
		for i := range t.NumField() {
			typesOf(t.Field(i).Type, out)
		}
	}
	return out
}

// linesOf maps the lines of a text that was written from a node to those on which
// the same stands in the node's own document, and 0 to that of the first time that t
// has and that is none.
func linesOf(node *yaml.Node, text []byte, t reflect.Type) func(int) int {
	lines := map[int]int{0: noTime(node, t)}
	var again yaml.Node
	if yaml.Unmarshal(text, &again) == nil {
		pair(node, &again, lines)
	}
	return func(line int) int { return lines[line] }
}

func pair(node, again *yaml.Node, lines map[int]int) {
	if _, known := lines[again.Line]; !known && node.Line > 0 {
		lines[again.Line] = node.Line
	}
	for i := range min(len(node.Content), len(again.Content)) {
		pair(node.Content[i], again.Content[i], lines)
	}
}

// noTime returns the line of the first text where t has a time and the text is none,
// 0 without any.
func noTime(node *yaml.Node, t reflect.Type) int {
	switch {
	case node.Kind == yaml.DocumentNode:
		return noTime(node.Content[0], t)
	case t.Kind() == reflect.Pointer:
		return noTime(node, t.Elem())
	case t == reflect.TypeFor[time.Time]():
		if _, err := time.Parse(time.RFC3339, node.Value); err != nil && node.ShortTag() != "!!timestamp" {
			return node.Line
		}
	case node.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice:
		for _, c := range node.Content {
			if line := noTime(c, t.Elem()); line > 0 {
				return line
			}
		}
	case node.Kind == yaml.MappingNode:
		for i := 1; i < len(node.Content); i += 2 {
			if inner, ok := memberType(t, node.Content[i-1].Value); ok {
				if line := noTime(node.Content[i], inner); line > 0 {
					return line
				}
			}
		}
	}
	return 0
}
