package city

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sandgate/sandgate/compute/engine/ingest"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/propose"
)

// scanned is what the scan proposes for a file.
func scanned(t *testing.T, r io.Reader, format ingest.Format, d *policies.Dataset) propose.Report {
	t.Helper()
	dict, err := propose.DefaultDictionary()
	if err != nil {
		t.Fatal(err)
	}
	var s *propose.Scan
	err = ingest.Fields(context.Background(), r, format,
		func(names []string) (err error) { s, err = propose.New(names, d, dict); return err },
		func(fields []string, null []bool) error { s.Row(fields, null); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s.Report()
}

// gradedHigher are the columns of the shipped data that their departments grade
// higher than words and values give reason for: there a person knows more.
var gradedHigher = map[string]bool{
	"marriage.event":           true, // a divorce is nobody's business
	"diabetes_encounters.race": true,
}

// Against the shipped catalogues: every declared identifier is found again from
// titles and values with the declaration taken away, and no level is proposed below
// the department's own, but where it says so above.
func TestR16_ScanProposesWhatTheDepartmentsDecided(t *testing.T) {
	g := New(Config{Seed: 7, Residents: 600})
	b := cityBundle(t)
	columns := 0
	for _, c := range b.catalogues {
		for _, d := range c.Datasets {
			var file bytes.Buffer
			if err := g.Write(d.ID, &file); err != nil {
				t.Fatal(err)
			}
			levels, _, _, _ := b.dataset(c.Department, d.ID)
			columns += compare(t, &d, levels, func() io.Reader { return bytes.NewReader(file.Bytes()) }, ingest.CSV)
		}
	}
	if columns < 40 {
		t.Errorf("only %d columns were compared", columns)
	}
}

// TestRealEncounters_Scan does so on real records; SANDGATE_REAL_DATA names the
// directory that holds them.
func TestRealEncounters_Scan(t *testing.T) {
	dir := os.Getenv("SANDGATE_REAL_DATA")
	if dir == "" {
		t.Skip("REAL DATA IS MISSING, REAL FILE NOT SCANNED: SANDGATE_REAL_DATA is not set")
	}
	if strings.HasSuffix(dir, ".gz") {
		dir = filepath.Dir(dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, "diabetes-encounters.csv.gz"))
	if err != nil {
		t.Fatal(err)
	}
	b := read(t, "diabetes/bundle.yaml")
	d := &b.catalogues[0].Datasets[0]
	levels, _, _, _ := b.dataset(b.catalogues[0].Department, d.ID)
	open := func() io.Reader { return bytes.NewReader(text) }
	if n := compare(t, d, levels, open, ingest.CSVGzip); n != 50 {
		t.Errorf("%d columns", n)
	}
	r := scanned(t, open(), ingest.CSVGzip, nil)
	if r.Rows != 101766 || r.Ragged != 0 {
		t.Errorf("%d rows, %d ragged", r.Rows, r.Ragged)
	}
	said, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"Caucasian", "Pediatrics", "250.83", "8222157", "[0-10)"} {
		if strings.Contains(string(said), value) {
			t.Errorf("the report holds the value %q", value)
		}
	}
	for _, c := range r.Columns {
		if c.Name == "diag_1" && (c.Class != "health" || c.Level != 4 || c.Distinct != 716 || c.Missing["?"] != 21 || c.Identifier != "") {
			t.Errorf("diag_1: %+v", c)
		}
	}
}

func compare(t *testing.T, d *policies.Dataset, levels map[string]int, open func() io.Reader, format ingest.Format) int {
	t.Helper()
	report := scanned(t, open(), format, d)
	for _, c := range report.Columns {
		if at := d.ID + "." + c.Name; (c.Level < levels[c.Name]) != gradedHigher[at] {
			t.Errorf("%s: level %d is proposed (%s), the department's is %d", at, c.Level, c.Why.EN, levels[c.Name])
		}
	}
	bare := *d
	bare.Columns = nil
	for _, c := range d.Columns {
		c.Identifier = ""
		bare.Columns = append(bare.Columns, c)
	}
	found := scanned(t, open(), format, &bare)
	for _, c := range found.Columns {
		want := d.Columns[slices.IndexFunc(d.Columns, func(x policies.Column) bool { return x.Name == c.Name })].Identifier
		// 名称, the name of a firm, is no person's: only its declaration tells.
		if d.Unit != nil && d.Unit.Kind == policies.UnitOrganisation && c.Name == "name" {
			continue
		}
		if c.Identifier != want {
			t.Errorf("%s.%s: identifier %q is proposed, %q is declared; %+v", d.ID, c.Name, c.Identifier, want, c.Evidence)
		}
	}
	return len(report.Columns)
}
