package attack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sandgate/sandgate/gateway"
	"github.com/sandgate/sandgate/gateway/client"
)

// Column of a test table: its YAML attributes after the name, and its uses.
type Column struct {
	Name, YAML, Uses string
}

// Table is a synthetic data set: its privacy unit is the text column id.
type Table struct {
	ID   string
	Many int // rows kept per unit; 0: one row per unit, verified at ingest
	// Level of every column; 0 is 2, whose answers wait for no publication and which
	// may have exact mode.
	Level    int
	Columns  []Column
	Rule     string // further lines of the disclosure rule, as a YAML flow list
	NotAfter time.Time
	CSV      string // with header
}

// LicenceID is the licence of an operator on a data set.
func LicenceID(operator, dataset string) string { return operator + "-" + dataset }

// Catalogue is the department's part of a table's policy.
func (x Table) Catalogue() string {
	var b strings.Builder
	one := "one_row_per_unit: true"
	rows := ""
	if x.Many > 0 {
		one, rows = "one_row_per_unit: false", fmt.Sprintf("max_rows: %d, ", x.Many)
	}
	fmt.Fprintf(&b, "kind: Catalogue\ndepartment: %s\ndatasets:\n  - id: %s\n    title: {zh: 测试}\n    unit: {column: id, kind: record}\n    %s\n    columns:\n", Department, x.ID, one)
	b.WriteString("      - {name: id, title: {zh: 编号}, type: text, identifier: opaque}\n")
	level := cmp.Or(x.Level, 2)
	var levels, uses, private []string
	levels = append(levels, fmt.Sprintf("id: %d", level))
	for _, c := range x.Columns {
		fmt.Fprintf(&b, "      - {name: %s, title: {zh: 列}, %s}\n", c.Name, c.YAML)
		levels = append(levels, fmt.Sprintf("%s: %d", c.Name, level))
		u := strings.TrimPrefix(c.Uses, "private ")
		if u != c.Uses {
			private = append(private, c.Name)
		}
		if u != "" {
			uses = append(uses, c.Name+": ["+u+"]")
		}
	}
	rule := x.Rule
	if !strings.Contains(rule, "mode:") {
		rule = strings.TrimSuffix("mode: dp, "+rule, ", ")
	}
	if len(private) > 0 {
		rule += ", private_keys: [" + strings.Join(private, ", ") + "]"
	}
	fmt.Fprintf(&b, "---\nkind: Grading\ndepartment: %s\nscheme: GB/T 43697-2024\nlevels:\n  %s: {%s}\n", Department, x.ID, strings.Join(levels, ", "))
	fmt.Fprintf(&b, "---\nkind: Masking\ndepartment: %s\nmasks:\n  %s: {id: {op: drop}}\n", Department, x.ID)
	fmt.Fprintf(&b, "---\nkind: Disclosure\ndepartment: %s\ndatasets:\n  %s: {%s%s, purposes: [%s], uses: {%s}}\n", Department, x.ID, rows, rule, Purpose, strings.Join(uses, ", "))
	return b.String()
}

// Licences grants every operator every usable column.
func (x Table) Licences() string {
	var b strings.Builder
	until := x.NotAfter
	if until.IsZero() {
		until = time.Now().AddDate(3, 0, 0)
	}
	var columns []string
	for _, c := range x.Columns {
		if c.Uses != "" {
			columns = append(columns, c.Name)
		}
	}
	for i := range Operators {
		fmt.Fprintf(&b, "---\nkind: Licence\nid: %s\noperator: %s\ntitle: {zh: 授权}\nscenario: {zh: 测试}\npurposes: [%s]\nnot_before: %s\nnot_after: %s\nresources:\n  - {dataset: %s, columns: [%s]}\nsecurity_terms: {zh: 沙箱}\nexit_terms: {zh: 停止}\n",
			LicenceID(Op(i), x.ID), Op(i), Purpose, until.AddDate(-4, 0, 0).UTC().Format(time.RFC3339), until.UTC().Format(time.RFC3339), x.ID, strings.Join(columns, ", "))
	}
	return strings.TrimPrefix(b.String(), "---\n")
}

// Add puts a table's policy in force and ingests it, once per arena and id.
func (a *Arena) Add(t testing.TB, x Table) {
	t.Helper()
	a.Must(t, x.Catalogue()+"---\n"+x.Licences(), Department, Regulator)
	a.Ingest(t, x.ID, x.CSV)
}

// Ingest streams a file into a data set; it may have no rows.
func (a *Arena) Ingest(t testing.TB, dataset, csv string) {
	t.Helper()
	if _, err := a.Client(Department).Ingest(context.Background(), dataset, "csv", strings.NewReader(csv), nil, client.AllowEmpty); err != nil {
		t.Fatalf("ingest of %s: %v", dataset, err)
	}
}

// common is an arena that the tests of one binary share.
type common struct {
	arena *Arena
	dir   string
	users map[string]bool // tests that have added their tables
}

var shared struct {
	mu              sync.Mutex
	outside, inside common
}

// Shared is the arena that the tests of one binary share; each adds tables of
// its own. A test that comes again (-count) gets a new one. Tests that use it do
// not run in parallel.
func Shared(t testing.TB) *Arena {
	t.Helper()
	return shared.outside.take(t, New)
}

// SharedInside is Shared with the gateway inside this process.
func SharedInside(t testing.TB) *Arena {
	t.Helper()
	return shared.inside.take(t, NewInside)
}

func (c *common) take(t testing.TB, create func(string, gateway.Options) (*Arena, error)) *Arena {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if c.users[t.Name()] {
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
	}
	if c.arena == nil {
		dir, err := os.MkdirTemp("", "sandgate-arena-")
		if err != nil {
			t.Fatal(err)
		}
		arena, err := create(dir, gateway.Options{})
		if err != nil {
			t.Fatal(errors.Join(err, os.RemoveAll(dir)))
		}
		*c = common{arena, dir, map[string]bool{}}
	}
	c.users[t.Name()] = true
	return c.arena
}

func (c *common) close() error {
	if c.arena == nil {
		return nil
	}
	err := errors.Join(c.arena.Stop(), os.RemoveAll(c.dir))
	*c = common{}
	return err
}

func closeShared() error { return errors.Join(shared.outside.close(), shared.inside.close()) }
