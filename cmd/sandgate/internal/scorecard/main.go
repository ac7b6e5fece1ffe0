// Command scorecard prints the leak score card 泄露评分卡: what the attack suite
// measured, against its bounds. It reads the JSON lines that the tests append to
// the file named by SANDGATE_SCORECARD (format: gateway/attack/README.md) and,
// on standard input, the output of go test -json, so that an attack test without
// a figure of its own, or one that failed before it had one, is on the card too.
// A second argument names the card as a document: NAME.md and NAME.json are
// written; the numbers of rows may follow, which alone are then written anew on the
// card that is there. It ends with 1 when an attack got through, a test failed, a row of the
// table of attacks has no figure in the document, or nothing was run.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/sandgate/sandgate/internal/leak"
)

type score = leak.Score

type event struct {
	Action, Package, Test string
	Elapsed               float64
}

type outcome struct {
	name, result string
	seconds      float64
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: go test -json -run Attack ./... | scorecard FILE [DOCUMENT [ROW...]]")
		os.Exit(2)
	}
	document, again := "", []string(nil)
	if len(os.Args) >= 3 {
		document, again = os.Args[2], os.Args[3:]
	}
	ok, err := run(os.Args[1], document, again, os.Stdin, os.Stdout, time.Now())
	if err != nil {
		fmt.Fprintln(os.Stderr, "scorecard:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(path, document string, again []string, tests io.Reader, out io.Writer, now time.Time) (bool, error) {
	scores, err := readScores(path)
	if err != nil {
		return false, err
	}
	results, err := readTests(tests)
	if err != nil {
		return false, err
	}
	passed, failed, open := 0, 0, 0
	rows := [][]string{{"结果", "攻击 attack", "测得 figure", "界限 bound", "对照 control", "次数 trials"}}
	slices.SortStableFunc(scores, func(a, b score) int { return strings.Compare(a.Attack, b.Attack) })
	for _, s := range scores {
		switch {
		case !s.Pass:
			failed++
		case s.Open:
			open++
		default:
			passed++
		}
		rows = append(rows, []string{verdict(s), s.Attack, fmt.Sprint(s.Figure), fmt.Sprint(s.Bound), fmt.Sprint(s.Control), fmt.Sprint(s.Trials)})
	}
	fmt.Fprintln(out, "泄露评分卡 · Leak score card")
	table(out, rows)
	for _, s := range scores {
		if s.Note != "" {
			fmt.Fprintf(out, "  %s: %s\n", s.Attack, s.Note)
		}
	}
	rows = [][]string{{"结果", "测试 test", "秒 s"}}
	broken := 0
	for _, r := range results {
		if r.result != "pass" {
			broken++
		}
		rows = append(rows, []string{r.result, r.name, fmt.Sprintf("%.1f", r.seconds)})
	}
	fmt.Fprintln(out, "\n全部攻击测试 · Every attack test")
	table(out, rows)
	fmt.Fprintf(out, "\n%d 通过 passed · %d 失败 leaked · %d 未防护 open · %d 项测试，%d 未通过 tests, not passed\n", passed, failed, open, len(results), broken)
	whole := true
	switch {
	case document != "" && len(again) > 0:
		if whole, err = rewrite(document, again, scores, broken, now, out); err != nil {
			return false, err
		}
	case document != "":
		if whole, err = write(document, scores, broken, now, out); err != nil {
			return false, err
		}
	}
	return failed == 0 && broken == 0 && passed > 0 && len(results) > 0 && whole, nil
}

// verdict is a score in a word.
func verdict(s score) string {
	switch {
	case !s.Pass:
		return "失败 LEAK"
	case s.Open:
		return "未防护 OPEN"
	}
	return "通过 ok"
}

func readScores(path string) ([]score, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("failed to open score card: %w", err)
	}
	defer f.Close()
	var out []score
	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields()
	for {
		var s score
		if err := dec.Decode(&s); err == io.EOF {
			return out, nil
		} else if err != nil {
			return nil, fmt.Errorf("failed to read score %d: %w", len(out)+1, err)
		}
		out = append(out, s)
	}
}

// readTests keeps the outcome of every top-level test, and a package that failed
// without one: it did not build, or its main ended badly.
func readTests(r io.Reader) ([]outcome, error) {
	var out []outcome
	blamed := map[string]bool{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the linker's own words stand between the events
		}
		if e.Action != "pass" && e.Action != "fail" && e.Action != "skip" || strings.Contains(e.Test, "/") {
			continue
		}
		short := strings.TrimPrefix(e.Package, "github.com/sandgate/sandgate/")
		switch {
		case e.Test != "":
			blamed[e.Package] = blamed[e.Package] || e.Action == "fail"
			out = append(out, outcome{short + " " + e.Test, e.Action, e.Elapsed})
		case e.Action == "fail" && !blamed[e.Package]:
			out = append(out, outcome{short, "fail", e.Elapsed})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("failed to read test output: %w", err)
	}
	slices.SortStableFunc(out, func(a, b outcome) int { return strings.Compare(a.name, b.name) })
	return out, nil
}

// table aligns columns; a Chinese character is two columns wide.
func table(out io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], width(c))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, c := range row {
			line.WriteString(c)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-width(c)+2))
			}
		}
		fmt.Fprintln(out, line.String())
	}
}

func width(s string) int {
	n := 0
	for _, r := range s {
		n++
		if unicode.Is(unicode.Han, r) || r >= 0xff00 && r <= 0xff60 {
			n++
		}
	}
	return n
}
